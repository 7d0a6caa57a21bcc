-- Where journals lost lines: one row = one gap; minutes are whole minutes since 1970-01-01 UTC, active as a call from
-- the first to the last lost line would be. Whose calls are missing nobody knows, so a gap touches every key.
-- $shift_min INTEGER. Read by the audit.
SELECT
    epoch_us(from_at) // 60000000 - 1 AS first_minute,
    epoch_us(to_at) // 60000000 + 1 + $shift_min AS last_minute,
    greatest(calls, 1) AS calls
FROM gaps
ORDER BY from_at, file_id, line_offset;
