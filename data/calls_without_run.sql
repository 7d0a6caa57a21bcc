-- The calls that no run has, by framework ($framework; NULL: all). One row = one framework (NULL: none is known).
-- started_at, ended_at: from the first's start to the last's end, UTC. Sums are tokens (images: images) of the counted
-- calls alone, NULL where none told a count. ambiguous: those of them that could be of more than one imported run.
-- Read by `submeter runs`.
WITH ambiguous AS (
    SELECT DISTINCT call_id FROM ambiguous_calls
)
SELECT
    c.framework,
    min(c.started_at) AS started_at,
    max(greatest(c.started_at, coalesce(c.ended_at, c.started_at))) AS ended_at,
    count(*) AS calls,
    count(*) FILTER (c.operation = 'create') AS creates,
    count(*) FILTER (c.standing = 'counted') AS counted,
    count(*) FILTER (c.standing = 'unknown') AS unknown,
    count(*) FILTER (c.standing = 'optional') AS optional,
    count(a.call_id) AS ambiguous,
    count(*) FILTER (c.standing = 'uncovered') AS uncovered,
    count(*) FILTER (c.standing = 'unbilled') AS unbilled,
    CAST(sum(c.input_tokens) FILTER (c.standing = 'counted') AS BIGINT) AS input_tokens,
    CAST(sum(c.cached_input_tokens) FILTER (c.standing = 'counted') AS BIGINT) AS cached_input_tokens,
    CAST(sum(c.output_tokens) FILTER (c.standing = 'counted') AS BIGINT) AS output_tokens,
    CAST(sum(c.reasoning_tokens) FILTER (c.standing = 'counted') AS BIGINT) AS reasoning_tokens,
    CAST(sum(c.images) FILTER (c.standing = 'counted') AS BIGINT) AS images
FROM standings AS c
LEFT JOIN ambiguous AS a ON a.call_id = c.call_id
WHERE c.run_id IS NULL AND ($framework IS NULL OR c.framework = $framework)
GROUP BY c.framework
ORDER BY c.framework;
