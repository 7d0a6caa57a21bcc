-- Which calls used something that nobody told the amount of, why, and what would settle it ($framework, $run_id; NULL:
-- all). One row = one create of standing `unknown`. Times UTC. Read by people.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    endpoint,
    model,
    outcome,
    status_code,
    why,
    settled_by,
    error
FROM unknown_calls
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
ORDER BY started_at, call_id;
