-- Where journals lost lines: one row = one gap; minutes are whole minutes since 1970-01-01 UTC, active as a call from
-- the first to the last lost line would be, by the same correction of our clock as in the minute book. Whose calls are
-- missing nobody knows, so a gap touches every key. $shift_min INTEGER. Read by the audit.
WITH skews AS (
    SELECT
        file_id,
        to_seconds(
            30 * CAST(round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT)
        ) AS skew
    FROM readings
    WHERE server_date IS NOT NULL
      AND first_byte_at IS NOT NULL
      AND file_id IN (SELECT g.file_id FROM gaps AS g)
    GROUP BY file_id
)
SELECT
    epoch_us(g.from_at + coalesce(s.skew, INTERVAL 0 SECOND)) // 60000000 - 1 AS first_minute,
    epoch_us(g.to_at + coalesce(s.skew, INTERVAL 0 SECOND)) // 60000000 + 1 + $shift_min AS last_minute,
    greatest(g.calls, 1) AS calls
FROM gaps AS g
LEFT JOIN skews AS s ON s.file_id = g.file_id
ORDER BY g.from_at, g.file_id, g.line_offset;
