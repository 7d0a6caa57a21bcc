-- The 50 calls that took longest ($framework, $run_id; NULL: all).
-- One row = one settled call. Seconds from its request's headers to its last byte, and to its first; overhead_us: what
-- submeter itself took, in microseconds. Read by people.
SELECT
    call_id,
    started_at,
    CAST(epoch_us(ended_at) - epoch_us(started_at) AS DOUBLE) / 1e6 AS took_s,
    CAST(epoch_us(first_byte_at) - epoch_us(started_at) AS DOUBLE) / 1e6 AS first_byte_s,
    overhead_us,
    framework,
    run_id,
    step,
    endpoint,
    coalesce(response_model, request_model) AS model,
    outcome,
    input_tokens,
    output_tokens
FROM calls
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
  AND ended_at IS NOT NULL
ORDER BY took_s DESC, started_at, call_id
LIMIT 50;
