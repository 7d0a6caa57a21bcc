-- The reads of some keys: one row = one read of the Usage API for one key, good or not, oldest first. Times in
-- microseconds UTC; rows: bucket rows that the ledger holds of it. $api_key_ids VARCHAR[]. Read by the audit.
WITH held AS (
    SELECT read_id, count(*) AS rows
    FROM usage_buckets
    GROUP BY read_id
)
SELECT
    u.read_id,
    u.usage_endpoint,
    u.api_key_ids[1] AS api_key_id,
    epoch_us(u.window_start) AS window_start_us,
    epoch_us(u.window_end) AS window_end_us,
    epoch_us(u.asked_at) AS asked_us,
    u.good,
    u.problem,
    u.status_code,
    u.message,
    u.request_id,
    u.pages,
    u.holes,
    coalesce(h.rows, 0) AS rows
FROM usage_reads AS u
LEFT JOIN held AS h ON h.read_id = u.read_id
WHERE len(u.api_key_ids) = 1 AND list_contains($api_key_ids, u.api_key_ids[1])
ORDER BY u.asked_at, u.at, u.file_id, u.line_offset;
