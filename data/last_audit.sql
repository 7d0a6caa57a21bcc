-- The latest verdict on one run ($framework, which may be NULL, and $run_id), and the settings that it was reached with.
-- One row, or none where the run was never audited; times UTC, settings in minutes, stable_reads a number of reads.
-- Read by `submeter explain`.
SELECT
    audit_id,
    audited_at,
    verdict,
    reason,
    final,
    timing,
    attempt,
    CAST(detail ->> 'shift_min' AS INTEGER) AS shift_min,
    CAST(detail ->> 'settle_min' AS INTEGER) AS settle_min,
    CAST(detail ->> 'interval_min' AS INTEGER) AS interval_min,
    CAST(detail ->> 'stable_reads' AS INTEGER) AS stable_reads
FROM run_audit
WHERE run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
ORDER BY audited_at DESC, attempt DESC, audit_id DESC
LIMIT 1;
