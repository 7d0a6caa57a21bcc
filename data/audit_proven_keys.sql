-- The key ids that a good read ever showed a token or an image for: one row = one key id. Read by the audit.
SELECT DISTINCT b.api_key_id
FROM usage_buckets AS b
JOIN usage_reads AS u ON u.read_id = b.read_id
WHERE u.good
  AND b.api_key_id IS NOT NULL
  AND (b.input_tokens > 0 OR b.output_tokens > 0 OR b.images > 0)
ORDER BY b.api_key_id;
