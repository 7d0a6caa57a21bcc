-- The unknown calls of one key that were begun in a period, for a verdict to name them: one row = one call, at most
-- $most of them, oldest first. $api_key_id VARCHAR, $from_us and $to_us BIGINT, $most BIGINT. Read by the audit.
SELECT
    c.call_id,
    epoch_us(c.started_at) AS started_us,
    c.framework,
    c.run_id,
    c.step,
    c.outcome,
    c.usage_endpoint,
    coalesce(c.response_model, c.request_model) AS model
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
WHERE c.standing = 'unknown'
  AND coalesce(k.api_key_id, c.api_key_id) = $api_key_id
  AND c.started_at >= make_timestamp($from_us)
  AND c.started_at < make_timestamp($to_us)
ORDER BY c.started_at, c.call_id
LIMIT $most;
