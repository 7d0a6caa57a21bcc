-- The last active minute of the creates of each key that begin in a period: one row = one key id. Minutes are whole
-- minutes since 1970-01-01 UTC. $from_minute, $to_minute BIGINT: of their first active minute; $shift_min INTEGER.
-- Read by the audit of a period.
SELECT
    api_key_id,
    max(end_minute) + 1 + $shift_min AS last_minute
FROM audit_creates
WHERE api_key_id IS NOT NULL AND first_minute >= $from_minute AND first_minute < $to_minute
GROUP BY api_key_id
ORDER BY api_key_id;
