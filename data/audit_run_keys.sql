-- Which keys the runs used: one row = one run, one key id (NULL: a key without one, or no key) and one first and last
-- minute in which calls of it were open, by our clock. Minutes are whole minutes since 1970-01-01 UTC; still open: now.
-- creates: calls that create work; keyless: those of them on a key without an id (a refused one without any key is
-- not counted: it used none). Read by the audit.
SELECT
    c.framework,
    c.run_id,
    coalesce(k.api_key_id, c.api_key_id) AS api_key_id,
    epoch_us(c.started_at) // 60000000 AS first_minute,
    CASE
        WHEN c.outcome = 'open' OR c.ended_at IS NULL
            THEN coalesce(getvariable('submeter_now_us'), epoch_us(now())) // 60000000
        ELSE epoch_us(greatest(c.started_at, c.ended_at)) // 60000000
    END AS last_minute,
    count(*) AS creates,
    count(*) FILTER (
        coalesce(k.api_key_id, c.api_key_id) IS NULL
        AND NOT (c.key_fingerprint IS NULL AND c.standing = 'unbilled')
    ) AS keyless
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
WHERE c.operation = 'create' AND c.run_id IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
