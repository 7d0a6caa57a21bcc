-- The key ids that creates were made on: one row = one key id. Read by the audit of a period.
SELECT DISTINCT coalesce(k.api_key_id, c.api_key_id) AS api_key_id
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
WHERE c.operation = 'create' AND coalesce(k.api_key_id, c.api_key_id) IS NOT NULL
ORDER BY ALL;
