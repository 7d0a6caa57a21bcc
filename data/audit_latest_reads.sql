-- Where each key was read last: one row = one key id and window of its good reads, with the time of the latest of them.
-- Times in microseconds UTC. $since_us BIGINT: of windows that end later. Read by the audit, to
-- know which verdicts a newer read may have changed.
SELECT
    api_key_ids[1] AS api_key_id,
    epoch_us(window_start) AS window_start_us,
    epoch_us(window_end) AS window_end_us,
    epoch_us(max(asked_at)) AS asked_us,
    bool_or(good) AS any_good
FROM usage_reads
WHERE len(api_key_ids) = 1 AND window_end > make_timestamp($since_us)
GROUP BY api_key_ids[1], window_start, window_end
ORDER BY api_key_id, window_start_us, window_end_us;
