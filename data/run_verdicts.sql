-- The latest verdict on each run of a framework ($framework; NULL: of all). One row = one run that was audited.
-- final_verdict: the latest final one, also where a later audit found nothing final. timing: why it proves nothing.
-- Read by `submeter compare` and `submeter report`.
SELECT
    framework,
    run_id,
    verdict,
    reason,
    final,
    timing,
    attempt,
    audited_at,
    window_start,
    window_end,
    final_verdict,
    final_audited_at
FROM run_audit
WHERE $framework IS NULL OR framework = $framework
ORDER BY framework, run_id;
