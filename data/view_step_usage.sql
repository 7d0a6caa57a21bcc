-- One row = one step of a run, over all its visits, and one row with step NULL for the run's calls without a step.
-- Sums are tokens (images: images) of the `counted` calls alone, NULL where none told a count; they stand beside how
-- many calls there were: calls (all rows, reads too), creates, and of the creates counted, unknown (used something,
-- nobody said how much), optional (what it used may not be billed), uncovered (no token total to compare) and unbilled
-- (refused or never sent). ambiguous: calls that could be of this step or of another run (`ambiguous_calls`); they are
-- in none of the other numbers, and where a run has one no step of it has sums.
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
        NULL AS covered,
        false AS is_ambiguous
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
        covered,
        false AS is_ambiguous
    FROM visits
    UNION ALL
    SELECT
        framework,
        run_id,
        step,
        NULL AS begun_at,
        false AS is_call,
        false AS is_create,
        NULL AS standing,
        NULL AS input_tokens,
        NULL AS cached_input_tokens,
        NULL AS cache_write_tokens,
        NULL AS output_tokens,
        NULL AS reasoning_tokens,
        NULL AS images,
        NULL AS covered,
        true AS is_ambiguous
    FROM ambiguous_calls
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
        count(*) FILTER (standing = 'optional') AS optional,
        count(*) FILTER (is_ambiguous) AS ambiguous,
        count(*) FILTER (standing = 'uncovered') AS uncovered,
        count(*) FILTER (standing = 'unbilled') AS unbilled,
        CAST(sum(input_tokens) FILTER (standing = 'counted') AS BIGINT) AS input_tokens,
        CAST(sum(cached_input_tokens) FILTER (standing = 'counted') AS BIGINT) AS cached_input_tokens,
        CAST(sum(cache_write_tokens) FILTER (standing = 'counted') AS BIGINT) AS cache_write_tokens,
        CAST(sum(output_tokens) FILTER (standing = 'counted') AS BIGINT) AS output_tokens,
        CAST(sum(reasoning_tokens) FILTER (standing = 'counted') AS BIGINT) AS reasoning_tokens,
        CAST(sum(images) FILTER (standing = 'counted') AS BIGINT) AS images
    FROM parts
    GROUP BY framework, run_id, step
),
weighed AS (
    SELECT
        framework,
        run_id,
        step,
        first_begun_at,
        covered,
        calls,
        creates,
        counted,
        unknown,
        optional,
        ambiguous,
        uncovered,
        unbilled,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        images,
        calls = 0 AND covered AND ambiguous = 0 AS known_empty,
        sum(ambiguous) OVER (PARTITION BY run_id, framework) > 0 AS doubtful
    FROM sums
)
SELECT
    framework,
    run_id,
    step,
    first_begun_at,
    CASE WHEN calls > 0 OR known_empty THEN calls END AS calls,
    CASE WHEN calls > 0 OR known_empty THEN creates END AS creates,
    CASE WHEN calls > 0 OR known_empty THEN counted END AS counted,
    CASE WHEN calls > 0 OR known_empty THEN unknown END AS unknown,
    CASE WHEN calls > 0 OR known_empty THEN optional END AS optional,
    ambiguous,
    CASE WHEN calls > 0 OR known_empty THEN uncovered END AS uncovered,
    CASE WHEN calls > 0 OR known_empty THEN unbilled END AS unbilled,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE input_tokens END AS input_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE cached_input_tokens END AS cached_input_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE cache_write_tokens END AS cache_write_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE output_tokens END AS output_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE reasoning_tokens END AS reasoning_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE images END AS images,
    CASE WHEN covered IS NULL THEN calls > 0 ELSE covered END AS covered
FROM weighed;
