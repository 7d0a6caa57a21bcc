-- The latest 20 calls that were refused, failed or could not be read, and of how many: one row = one call. Times UTC;
-- standing says whether it may have used something all the same. Read by the live page.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    coalesce(response_model, request_model) AS model,
    outcome,
    standing,
    status_code,
    error,
    count(*) OVER () AS calls
FROM calls
WHERE outcome IN ('refused', 'failed', 'unreadable')
ORDER BY started_at DESC, call_id DESC
LIMIT 20;
