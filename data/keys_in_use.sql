-- Which API keys were used, for which framework, and under which id the Usage API knows them.
-- One row = one key fingerprint and framework; first and last use in UTC. api_key_id NULL: none configured, so its
-- calls cannot be audited. Read by people and `submeter doctor`.
SELECT
    key_fingerprint,
    framework,
    api_key_id,
    count(*) AS calls,
    count(*) FILTER (standing = 'counted') AS counted,
    count(*) FILTER (standing = 'unknown') AS unknown,
    count(*) FILTER (standing = 'optional') AS optional,
    min(started_at) AS first_used_at,
    max(started_at) AS last_used_at
FROM calls
GROUP BY key_fingerprint, framework, api_key_id
ORDER BY framework, key_fingerprint, api_key_id;
