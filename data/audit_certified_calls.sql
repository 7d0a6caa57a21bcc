-- The creates of one key that are first active in a stretch of minutes, for a certificate to list them: one row = one
-- call, oldest first, at most $most. Times are microseconds UTC by our clock (completed_us: the provider's); skew_us is
-- what is added to ours. Counts are tokens (images: images) as reported. $api_key_id VARCHAR, $from_minute and $to_minute
-- BIGINT, whole minutes since 1970-01-01 UTC by the provider's clock, $most BIGINT. Read by the audit.
SELECT
    call_id,
    framework,
    run_id,
    started_us,
    ended_us,
    completed_us,
    skew_us,
    outcome,
    standing,
    usage_endpoint,
    endpoint,
    request_model,
    response_model,
    background,
    hosted,
    any_model,
    optional_class,
    input_tokens,
    cached_input_tokens,
    cache_write_tokens,
    output_tokens,
    images
FROM audit_creates
WHERE api_key_id = $api_key_id
  AND first_minute >= $from_minute
  AND first_minute < $to_minute
ORDER BY started_us, call_id
LIMIT $most;
