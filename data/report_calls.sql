-- The calls of some runs for a time line, oldest first, at most $most. One row = one create. Times UTC; open calls have no
-- ended_at. $runs: JSON text, a list of objects of framework and run_id. Read by `submeter report`.
WITH wanted AS (
    SELECT told.framework, told.run_id
    FROM (SELECT unnest(from_json($runs, '[{"framework": "VARCHAR", "run_id": "VARCHAR"}]')) AS told) AS listed
)
SELECT
    c.call_id,
    c.framework,
    c.run_id,
    c.step,
    c.started_at,
    c.ended_at,
    c.standing,
    c.outcome,
    coalesce(c.response_model, c.request_model) AS model,
    c.endpoint,
    c.input_tokens,
    c.output_tokens
FROM calls AS c
JOIN wanted AS w ON w.run_id = c.run_id AND w.framework IS NOT DISTINCT FROM c.framework
WHERE c.operation = 'create'
ORDER BY c.started_at, c.call_id
LIMIT CAST($most AS BIGINT);
