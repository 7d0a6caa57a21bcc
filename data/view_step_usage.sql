-- One row = one step of a run, over all its visits, and one row with step NULL for the run's calls without a step.
-- Sums are tokens (images: images) of the `counted` calls alone, NULL where none told a count; they stand beside how
-- many calls there were: calls (all rows, reads too), creates, and of the creates counted, unknown (used something,
-- nobody said how much), uncovered (no token total to compare) and unbilled (refused or never sent).
-- A step without a call has zeros if a proxy was up through it (covered), NULLs otherwise.
-- Ordered for people by first_begun_at. Law: the rows of a run add up to its row in run_usage.
CREATE OR REPLACE VIEW step_usage AS
WITH parts AS (
    SELECT
        framework,
        run_id,
        step,
        started_at AS begun_at,
        true AS is_call,
        operation = 'create' AS is_create,
        standing,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        images,
        NULL AS covered
    FROM standings
    WHERE run_id IS NOT NULL
    UNION ALL
    SELECT
        framework,
        run_id,
        step,
        started_at AS begun_at,
        false AS is_call,
        false AS is_create,
        NULL AS standing,
        NULL AS input_tokens,
        NULL AS cached_input_tokens,
        NULL AS cache_write_tokens,
        NULL AS output_tokens,
        NULL AS reasoning_tokens,
        NULL AS images,
        covered
    FROM visits
),
sums AS (
    SELECT
        framework,
        run_id,
        step,
        min(begun_at) AS first_begun_at,
        bool_and(covered) AS covered,
        count(*) FILTER (is_call) AS calls,
        count(*) FILTER (is_create) AS creates,
        count(*) FILTER (standing = 'counted') AS counted,
        count(*) FILTER (standing = 'unknown') AS unknown,
        count(*) FILTER (standing = 'uncovered') AS uncovered,
        count(*) FILTER (standing = 'unbilled') AS unbilled,
        sum(input_tokens) FILTER (standing = 'counted') AS input_tokens,
        sum(cached_input_tokens) FILTER (standing = 'counted') AS cached_input_tokens,
        sum(cache_write_tokens) FILTER (standing = 'counted') AS cache_write_tokens,
        sum(output_tokens) FILTER (standing = 'counted') AS output_tokens,
        sum(reasoning_tokens) FILTER (standing = 'counted') AS reasoning_tokens,
        sum(images) FILTER (standing = 'counted') AS images
    FROM parts
    GROUP BY framework, run_id, step
)
SELECT
    framework,
    run_id,
    step,
    first_begun_at,
    CASE WHEN calls > 0 OR covered THEN calls END AS calls,
    CASE WHEN calls > 0 OR covered THEN creates END AS creates,
    CASE WHEN calls > 0 OR covered THEN counted END AS counted,
    CASE WHEN calls > 0 OR covered THEN unknown END AS unknown,
    CASE WHEN calls > 0 OR covered THEN uncovered END AS uncovered,
    CASE WHEN calls > 0 OR covered THEN unbilled END AS unbilled,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(input_tokens AS BIGINT) END AS input_tokens,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(cached_input_tokens AS BIGINT) END AS cached_input_tokens,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(cache_write_tokens AS BIGINT) END AS cache_write_tokens,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(output_tokens AS BIGINT) END AS output_tokens,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(reasoning_tokens AS BIGINT) END AS reasoning_tokens,
    CASE WHEN calls = 0 AND covered THEN 0 ELSE CAST(images AS BIGINT) END AS images,
    CASE WHEN covered IS NULL THEN calls > 0 ELSE covered END AS covered
FROM sums;
