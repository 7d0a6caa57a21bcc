-- What the ledger holds of the calls of some stretches of minutes: one row = one stretch, how many creates of its key
-- begin in it, and a digest of them, the same as in audit_parts.
-- $api_key_ids VARCHAR[], $from_minutes and $to_minutes BIGINT[], one of each a stretch. Read by the audit.
WITH stretches AS (
    SELECT
        unnest(CAST($api_key_ids AS VARCHAR[])) AS api_key_id,
        unnest(CAST($from_minutes AS BIGINT[])) AS from_minute,
        unnest(CAST($to_minutes AS BIGINT[])) AS to_minute
),
begun AS (
    SELECT
        t.api_key_id,
        t.from_minute,
        t.to_minute,
        c.call_id,
        hash(
            c.call_id, c.framework, c.run_id, CASE WHEN NOT c.open THEN c.end_minute END, c.standing,
            c.usage_endpoint, c.response_model, c.request_model, c.input_tokens, c.cached_input_tokens,
            c.output_tokens, c.images
        ) AS digest
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
