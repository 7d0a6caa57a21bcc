-- One row = one run (framework, run_id), over all its episodes. Columns as in step_usage.
-- A run without a call has zeros if a proxy was up from its first mark to its last, NULLs otherwise.
-- Law: equal to the sum of its rows in step_usage, and to the sum over its counted calls.
CREATE OR REPLACE VIEW run_usage AS
WITH marked AS (
    SELECT
        framework,
        run_id,
        min(marked_at) AS begun_at,
        max(marked_at) AS last_marked_at
    FROM known_marks
    GROUP BY framework, run_id
),
parts AS (
    SELECT
        framework,
        run_id,
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
        m.framework,
        m.run_id,
        m.begun_at,
        false AS is_call,
        false AS is_create,
        NULL AS standing,
        NULL AS input_tokens,
        NULL AS cached_input_tokens,
        NULL AS cache_write_tokens,
        NULL AS output_tokens,
        NULL AS reasoning_tokens,
        NULL AS images,
        len(
            list_filter(
                coalesce((SELECT list({'from_at': from_at, 'to_at': to_at}) FROM watched_times), []),
                lambda watched: watched.from_at <= m.begun_at AND watched.to_at >= m.last_marked_at
            )
        ) > 0
        AND len(
            list_filter(
                coalesce((SELECT list({'from_at': from_at, 'to_at': to_at}) FROM gaps), []),
                lambda gap: gap.to_at >= m.begun_at AND gap.from_at <= m.last_marked_at
            )
        ) = 0 AS covered
    FROM marked AS m
),
sums AS (
    SELECT
        framework,
        run_id,
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
    GROUP BY framework, run_id
)
SELECT
    framework,
    run_id,
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
