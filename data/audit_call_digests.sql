-- What the ledger holds of the calls of some stretches of minutes: one row = one stretch, how many creates of its key
-- begin in it, and a digest of them, the same as in audit_parts.
-- $stretches: JSON text, a list of objects of api_key_id, from_minute and to_minute. Read by the audit.
WITH stretches AS (
    SELECT told.api_key_id, told.from_minute, told.to_minute
    FROM (
        SELECT unnest(
            from_json($stretches, '[{"api_key_id": "VARCHAR", "from_minute": "BIGINT", "to_minute": "BIGINT"}]')
        ) AS told
    ) AS listed
),
begun AS (
    SELECT
        t.api_key_id,
        t.from_minute,
        t.to_minute,
        c.call_id,
        c.digest
    FROM stretches AS t
    LEFT JOIN audit_creates AS c
        ON c.api_key_id = t.api_key_id
        AND c.first_minute >= t.from_minute
        AND c.first_minute < t.to_minute
)
SELECT
    api_key_id,
    from_minute,
    to_minute,
    count(call_id) AS calls,
    CAST(coalesce(bit_xor(digest) FILTER (call_id IS NOT NULL), 0) AS VARCHAR) AS digest
FROM begun
GROUP BY api_key_id, from_minute, to_minute
ORDER BY api_key_id, from_minute, to_minute;
