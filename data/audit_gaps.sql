-- Where journals lost lines: one row = one gap; minutes are whole minutes since 1970-01-01 UTC, active as a call from
-- the first to the last lost line would be, by the same correction of our clock as in the book. Whose calls are
-- missing nobody knows, so a gap touches every key. $shift_min INTEGER. Read by the audit.
SELECT
    (epoch_us(g.from_at) + CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END) // 60000000 - 1 AS first_minute,
    (epoch_us(g.to_at) + CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END) // 60000000 + 1 + $shift_min
        AS last_minute,
    greatest(g.calls, 1) AS calls
FROM gaps AS g
LEFT JOIN process_skews AS s ON s.file_id = g.file_id
ORDER BY g.from_at, g.file_id, g.line_offset;
