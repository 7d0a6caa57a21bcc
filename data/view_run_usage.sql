-- One row = one run (framework, run_id), over all its episodes. Columns as in step_usage.
-- A run with an ambiguous call has no sums: they could be too few. A run without a call has zeros if a proxy was up
-- from its first mark to its last, NULLs otherwise; an imported run without an end that can be is never covered.
-- Law: equal to the sum of its rows in step_usage, and to the sum over its counted calls.
CREATE OR REPLACE VIEW run_usage AS
WITH marked AS (
    SELECT
        framework,
        run_id,
        min(marked_at) AS begun_at,
        max(marked_at) AS last_marked_at,
        bool_or(marked_by = 'metrics')
        AND coalesce(
            max(marked_at) FILTER (kind = 'run' AND edge = 'end')
                < min(marked_at) FILTER (kind = 'run' AND edge = 'begin'),
            NOT bool_or(kind = 'run' AND edge = 'end')
        ) AS end_unknown
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
        NULL AS covered,
        false AS is_ambiguous
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
        NOT m.end_unknown
        AND len(
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
        ) = 0 AS covered,
        false AS is_ambiguous
    FROM marked AS m
    UNION ALL
    SELECT
        framework,
        run_id,
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
    GROUP BY framework, run_id
),
weighed AS (
    SELECT
        framework,
        run_id,
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
        ambiguous > 0 AS doubtful
    FROM sums
)
SELECT
    framework,
    run_id,
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
