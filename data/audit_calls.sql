-- The calls of one key begun in a period that tell their usage, for an explanation to point at: one row = one call,
-- oldest first, at most $most. started_us: microseconds UTC; counts are tokens (images: images) as reported.
-- drew: a hosted image tool of its told tokens. optional: what it reports may not be billed; every other row is counted.
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
    seen_twice,
    hosted,
    optional_class IS NOT DISTINCT FROM 'image_gen' AS drew,
    standing = 'optional' AS optional
FROM audit_creates
WHERE standing IN ('counted', 'optional')
  AND api_key_id = $api_key_id
  AND started_us + skew_us >= $from_us
  AND started_us + skew_us < $to_us
ORDER BY started_us, call_id
LIMIT $most;
