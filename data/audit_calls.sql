-- The counted calls of one key that were begun in a period, for an explanation to point at: one row = one call, oldest
-- first, at most $most. started_us: microseconds UTC; counts are tokens (images: images) as reported.
-- $api_key_id VARCHAR, $from_us, $to_us and $most BIGINT. Read by `submeter explain`.
SELECT
    c.call_id,
    epoch_us(c.started_at) AS started_us,
    c.framework,
    c.run_id,
    c.step,
    c.usage_endpoint,
    coalesce(c.response_model, c.request_model) AS model,
    c.input_tokens,
    c.cached_input_tokens,
    c.output_tokens,
    c.images,
    list_contains(c.flags, 'seen_twice') AS seen_twice
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
WHERE c.standing = 'counted'
  AND coalesce(k.api_key_id, c.api_key_id) = $api_key_id
  AND c.started_at >= make_timestamp($from_us)
  AND c.started_at < make_timestamp($to_us)
ORDER BY c.started_at, c.call_id
LIMIT $most;
