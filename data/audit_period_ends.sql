-- The creates that begin in a period, key by key: one row = one key id (NULL: keys without one), the last active minute
-- of its creates, and how many of them nothing can be compared with: those on a key without an id (a refused one
-- without any key is not counted: it used none). Minutes are whole minutes since 1970-01-01 UTC.
-- $from_minute, $to_minute BIGINT: of their first active minute; $shift_min INTEGER; $framework VARCHAR (NULL: all).
-- Read by the audit of a period.
SELECT
    api_key_id,
    max(end_minute) + 1 + $shift_min AS last_minute,
    count(*) FILTER (
        api_key_id IS NULL AND standing <> 'unbilled' AND ($framework IS NULL OR framework = $framework)
    ) AS keyless
FROM audit_creates
WHERE first_minute >= $from_minute AND first_minute < $to_minute
GROUP BY api_key_id
ORDER BY api_key_id;
