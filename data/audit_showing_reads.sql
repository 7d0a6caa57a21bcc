-- The good reads of one key that showed a token or an image: one row = one read and the first minute in which it did so,
-- latest first, at most $most. minute: whole minutes since 1970-01-01 UTC. $api_key_id VARCHAR, $most BIGINT. Read by
-- the audit, for a certificate to show that the bill of the key can be seen.
SELECT
    u.read_id,
    min(epoch_us(b.minute)) // 60000000 AS minute
FROM usage_buckets AS b
JOIN usage_reads AS u ON u.read_id = b.read_id
WHERE u.good
  AND b.api_key_id = $api_key_id
  AND b.model IS NOT NULL
  AND (b.input_tokens > 0 OR b.output_tokens > 0 OR b.images > 0)
GROUP BY u.read_id, u.asked_at
ORDER BY u.asked_at DESC, u.read_id
LIMIT $most;
