-- Which calls were tried again by their client's own word, and by submeter ($framework, $run_id; NULL: all).
-- One row = one attempt with a retry count above 0, or sent again by submeter. Every attempt is a call of its own, and
-- one that used something was billed. Times UTC. Read by people.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    endpoint,
    retry_count,
    list_contains(flags, 'retried_by_us') AS retried_by_us,
    outcome,
    standing,
    status_code,
    input_tokens,
    output_tokens
FROM calls
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
  AND (retry_count > 0 OR list_contains(flags, 'retried_by_us'))
ORDER BY started_at, call_id;
