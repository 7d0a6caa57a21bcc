-- The names of models that the creates of each key have: one row = one key id, usage endpoint, standing and name on each
-- side (request_model only where the answer named none). $until_us BIGINT: of creates begun before. Read by the audit.
SELECT DISTINCT
    api_key_id,
    usage_endpoint,
    standing,
    response_model,
    CASE WHEN response_model IS NULL THEN request_model END AS request_model
FROM audit_creates
WHERE api_key_id IS NOT NULL AND started_us < $until_us
ORDER BY ALL;
