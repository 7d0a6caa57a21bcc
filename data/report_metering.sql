-- How some runs were metered: each process that wrote their calls. One row = one process. Times UTC; gaps: calls that it
-- could not write, in all. $runs: as in report_calls. Read by `submeter report`.
WITH wanted AS (
    SELECT told.framework, told.run_id
    FROM (SELECT unnest(from_json($runs, '[{"framework": "VARCHAR", "run_id": "VARCHAR"}]')) AS told) AS listed
),
used AS (
    SELECT l.file_id, count(*) AS calls
    FROM labelled AS l
    JOIN wanted AS w ON w.run_id = l.run_id AND w.framework IS NOT DISTINCT FROM l.framework
    GROUP BY l.file_id
),
missing AS (
    SELECT file_id, CAST(sum(calls) AS BIGINT) AS calls
    FROM gaps
    GROUP BY file_id
)
SELECT
    p.file_id,
    p.host,
    p.pid,
    p.mode,
    p.version,
    p.upstream,
    p.started_at,
    coalesce(p.stopped_at, p.gone_at) AS ended_at,
    u.calls,
    g.calls AS gap_calls
FROM used AS u
JOIN processes AS p ON p.file_id = u.file_id
LEFT JOIN missing AS g ON g.file_id = u.file_id
ORDER BY p.started_at, p.file_id;
