-- The bill that reads show in one window: one row = one result row of one minute bucket, as the provider counted it.
-- minute: whole minutes since 1970-01-01 UTC. $read_ids VARCHAR[], $window_start_us and $window_end_us BIGINT.
-- Read by the audit.
SELECT
    read_id,
    usage_endpoint,
    epoch_us(minute) // 60000000 AS minute,
    model,
    batch,
    service_tier,
    input_tokens,
    input_cached_tokens,
    input_cache_write_tokens,
    output_tokens,
    images,
    num_model_requests
FROM usage_buckets
WHERE minute >= make_timestamp($window_start_us)
  AND minute < make_timestamp($window_end_us)
  AND list_contains($read_ids, read_id)
ORDER BY ALL;
