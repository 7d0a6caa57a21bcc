-- Every key id that a framework's own key ever had: one row = one key line of a framework; seen_us is when it was
-- written, microseconds UTC; api_key_id is the last one known for that key, NULL where none is. Read by the audit.
SELECT
    x.framework,
    CASE WHEN k.api_key_id IS NULL THEN x.api_key_id ELSE k.api_key_id END AS api_key_id,
    epoch_us(x.at) AS seen_us
FROM keys AS x
LEFT JOIN known_keys AS k ON k.key_fingerprint = x.key_fingerprint
WHERE x.framework IS NOT NULL
ORDER BY x.framework, x.at, x.file_id, x.line_offset;
