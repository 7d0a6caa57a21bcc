-- Which keys the runs used: one row = one run, one key id (NULL: a key without one, or no key) and one first and last
-- minute in which calls of it were open, by the provider's clock: ours, corrected as in the minute book. Minutes are
-- whole minutes since 1970-01-01 UTC; still open: now. creates: calls that create work; keyless: those of them on a key
-- without an id (a refused one without any key is not counted: it used none). Read by the audit.
WITH skews AS (
    SELECT
        file_id,
        to_seconds(
            30 * CAST(round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT)
        ) AS skew
    FROM readings
    WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
    GROUP BY file_id
),
shifted AS (
    SELECT r.call_id, s.skew
    FROM skews AS s
    JOIN readings AS r ON r.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
    UNION ALL
    SELECT o.call_id, s.skew
    FROM skews AS s
    JOIN open_calls AS o ON o.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
)
SELECT
    c.framework,
    c.run_id,
    coalesce(k.api_key_id, c.api_key_id) AS api_key_id,
    epoch_us(c.started_at + coalesce(s.skew, INTERVAL 0 SECOND)) // 60000000 AS first_minute,
    CASE
        WHEN c.outcome = 'open' OR c.ended_at IS NULL
            THEN coalesce(getvariable('submeter_now_us'), epoch_us(now())) // 60000000
        ELSE epoch_us(greatest(c.started_at, c.ended_at) + coalesce(s.skew, INTERVAL 0 SECOND)) // 60000000
    END AS last_minute,
    count(*) AS creates,
    count(*) FILTER (
        coalesce(k.api_key_id, c.api_key_id) IS NULL
        AND NOT (c.key_fingerprint IS NULL AND c.standing = 'unbilled')
    ) AS keyless
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
LEFT JOIN shifted AS s ON s.call_id = c.call_id
WHERE c.operation = 'create' AND c.run_id IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
