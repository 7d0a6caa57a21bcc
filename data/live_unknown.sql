-- The latest 20 calls that used something nobody told the amount of, and of how many: one row = one call of
-- `unknown_calls` that is not open any more. Times UTC. Read by the live page.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    model,
    outcome,
    status_code,
    why,
    settled_by,
    count(*) OVER () AS calls
FROM unknown_calls
WHERE outcome <> 'open'
ORDER BY started_at DESC, call_id DESC
LIMIT 20;
