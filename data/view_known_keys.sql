-- One row = one key that has an id: the last id configured for this fingerprint. One secret has one id for ever, so
-- it also stands for calls made before it was configured. Inner view of `calls`.
CREATE OR REPLACE VIEW known_keys AS
SELECT
    key_fingerprint,
    api_key_id
FROM keys
WHERE api_key_id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY key_fingerprint ORDER BY "at" DESC, file_id DESC, line_offset DESC) = 1;
