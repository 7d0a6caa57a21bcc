-- The names of models that good reads ever showed a token or an image for: one row = one key id, usage endpoint and
-- model; batch_only: never but as batch. $since_us BIGINT: in minutes from then on. Read by the audit.
SELECT
    b.api_key_id,
    b.usage_endpoint,
    b.model,
    bool_and(b.batch IS NOT DISTINCT FROM true) AS batch_only
FROM usage_buckets AS b
JOIN usage_reads AS u ON u.read_id = b.read_id
WHERE u.good
  AND b.minute >= make_timestamp($since_us)
  AND b.api_key_id IS NOT NULL
  AND b.model IS NOT NULL
  AND (b.input_tokens > 0 OR b.output_tokens > 0 OR b.images > 0)
GROUP BY b.api_key_id, b.usage_endpoint, b.model
ORDER BY b.api_key_id, b.usage_endpoint, b.model;
