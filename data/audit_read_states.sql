-- What reads say of one window, as a digest: one row = one read; equal states, equal rows. A read without a row in the
-- window is not here. $read_ids VARCHAR[], $window_start_us and $window_end_us BIGINT. Read by the audit.
SELECT
    read_id,
    md5(string_agg(line, chr(10) ORDER BY line)) AS state
FROM (
    SELECT
        read_id,
        CAST(
            to_json([
                CAST(epoch_us(minute) AS VARCHAR),
                model,
                CAST(batch AS VARCHAR),
                service_tier,
                CAST(input_tokens AS VARCHAR),
                CAST(input_cached_tokens AS VARCHAR),
                CAST(input_cache_write_tokens AS VARCHAR),
                CAST(output_tokens AS VARCHAR),
                CAST(images AS VARCHAR),
                CAST(num_model_requests AS VARCHAR)
            ]) AS VARCHAR
        ) AS line
    FROM usage_buckets
    WHERE minute >= make_timestamp($window_start_us)
      AND minute < make_timestamp($window_end_us)
      AND list_contains($read_ids, read_id)
) AS lines
GROUP BY read_id
ORDER BY read_id;
