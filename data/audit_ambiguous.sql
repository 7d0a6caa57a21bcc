-- How many calls could be of a run or of another: one row = one run with such calls. Read by the audit.
SELECT
    framework,
    run_id,
    count(*) AS calls
FROM ambiguous_calls
GROUP BY framework, run_id
ORDER BY framework, run_id;
