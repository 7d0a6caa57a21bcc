-- What each framework used so far, with or without a run. One row = one framework (NULL: none is known).
-- Sums are tokens of the counted calls alone, NULL where none told a count; beside them stand the calls they do not
-- hold. refused, failed: by what happened on the wire. Times UTC. Read by the live page.
SELECT
    framework,
    count(*) AS calls,
    count(*) FILTER (standing = 'counted') AS counted,
    count(*) FILTER (standing = 'unknown') AS unknown,
    count(*) FILTER (standing = 'optional') AS optional,
    count(*) FILTER (standing = 'unbilled') AS unbilled,
    count(*) FILTER (standing = 'uncovered') AS uncovered,
    CAST(sum(input_tokens) FILTER (standing = 'counted') AS BIGINT) AS input_tokens,
    CAST(sum(cached_input_tokens) FILTER (standing = 'counted') AS BIGINT) AS cached_input_tokens,
    CAST(sum(output_tokens) FILTER (standing = 'counted') AS BIGINT) AS output_tokens,
    CAST(sum(reasoning_tokens) FILTER (standing = 'counted') AS BIGINT) AS reasoning_tokens,
    max(started_at) AS last_started_at
FROM standings
GROUP BY framework
ORDER BY framework;
