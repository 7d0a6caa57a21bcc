-- The reads of some keys that hold a minute of some stretches: one row = one read of the Usage API for one key, good or
-- not, oldest first. Times in microseconds UTC. $stretches: JSON text, a list of
-- objects of api_key_id, from_minute and to_minute. $since_us BIGINT: of windows that end later. Read by the audit.
WITH stretches AS (
    SELECT told.api_key_id, told.from_minute, told.to_minute
    FROM (
        SELECT unnest(
            from_json($stretches, '[{"api_key_id": "VARCHAR", "from_minute": "BIGINT", "to_minute": "BIGINT"}]')
        ) AS told
    ) AS listed
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
    u.holes
FROM usage_reads AS u
WHERE len(u.api_key_ids) = 1
  AND u.window_end > make_timestamp($since_us)
  AND EXISTS (
      SELECT 1
      FROM stretches AS t
      WHERE t.api_key_id = u.api_key_ids[1]
        AND u.window_start < make_timestamp(t.to_minute * 60000000)
        AND u.window_end > make_timestamp(t.from_minute * 60000000)
  )
ORDER BY u.asked_at, u.at, u.file_id, u.line_offset;
