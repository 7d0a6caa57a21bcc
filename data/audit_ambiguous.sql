-- How many calls could be of a run or of another: one row = one run with such calls. $since_us BIGINT: of those begun
-- later. Read by the audit.
SELECT
    framework,
    run_id,
    count(*) AS calls
FROM ambiguous_calls
WHERE started_at >= make_timestamp($since_us)
GROUP BY framework, run_id
ORDER BY framework, run_id;
