-- The bill that reads show in some stretches of minutes: one row = one result row of one minute bucket, as the provider
-- counted it. minute: whole minutes since 1970-01-01 UTC. $stretches: JSON text, a list of objects
-- of api_key_id, from_minute and to_minute; $read_ids: JSON text, a list of texts. Read by the audit.
WITH stretches AS (
    SELECT told.api_key_id, told.from_minute, told.to_minute
    FROM (
        SELECT unnest(
            from_json($stretches, '[{"api_key_id": "VARCHAR", "from_minute": "BIGINT", "to_minute": "BIGINT"}]')
        ) AS told
    ) AS listed
),
asked AS (
    SELECT unnest(from_json($read_ids, '["VARCHAR"]')) AS read_id
)
SELECT
    b.read_id,
    b.usage_endpoint,
    t.from_minute,
    epoch_us(b.minute) // 60000000 AS minute,
    b.model,
    b.batch,
    b.service_tier,
    b.input_tokens,
    b.input_cached_tokens,
    b.input_cache_write_tokens,
    b.output_tokens,
    b.images,
    b.num_model_requests
FROM usage_buckets AS b
JOIN asked AS a ON a.read_id = b.read_id
JOIN stretches AS t
    ON t.api_key_id = b.api_key_id
    AND b.minute >= make_timestamp(t.from_minute * 60000000)
    AND b.minute < make_timestamp(t.to_minute * 60000000)
ORDER BY ALL;
