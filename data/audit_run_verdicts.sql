-- The latest verdict on each run, and how many there were: one row = one run. Times in microseconds UTC.
-- $since_us BIGINT: of runs whose windows begin later. Read by the audit.
SELECT
    framework,
    run_id,
    arg_max(verdict, (audited_at, "at", file_id, line_offset)) AS verdict,
    arg_max(reason, (audited_at, "at", file_id, line_offset)) AS reason,
    arg_max(final, (audited_at, "at", file_id, line_offset)) AS final,
    epoch_us(max(audited_at)) AS audited_us,
    arg_max(verdict, (audited_at, "at", file_id, line_offset)) FILTER (final) AS final_verdict,
    count(*) AS attempts
FROM audits
WHERE scope = 'run' AND run_id IS NOT NULL AND (window_start IS NULL OR window_start >= make_timestamp($since_us))
GROUP BY framework, run_id
ORDER BY framework, run_id;
