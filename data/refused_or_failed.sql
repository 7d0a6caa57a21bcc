-- Which calls were refused or failed, and with what words ($framework, $run_id; NULL: all).
-- One row = one call. Times UTC; standing says whether it may have used something all the same. Read by people.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    endpoint,
    coalesce(response_model, request_model) AS model,
    outcome,
    standing,
    status_code,
    retry_count,
    request_id,
    error
FROM calls
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
  AND outcome IN ('refused', 'failed', 'unreadable')
ORDER BY started_at, call_id;
