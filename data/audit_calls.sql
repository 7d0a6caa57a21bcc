-- The counted calls of one key that were begun in a period, for an explanation to point at: one row = one call, oldest
-- first, at most $most. started_us: microseconds UTC; counts are tokens (images: images) as reported.
-- $api_key_id VARCHAR, $from_us and $to_us BIGINT by the provider's clock, $most BIGINT. Read by `submeter explain`.
SELECT
    call_id,
    started_us,
    framework,
    run_id,
    step,
    usage_endpoint,
    coalesce(response_model, request_model) AS model,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    images,
    seen_twice
FROM audit_creates
WHERE standing = 'counted'
  AND api_key_id = $api_key_id
  AND started_us + skew_us >= $from_us
  AND started_us + skew_us < $to_us
ORDER BY started_us, call_id
LIMIT $most;
