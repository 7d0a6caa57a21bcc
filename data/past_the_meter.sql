-- When this ledger was watching, and when calls of one key were under way, since a moment.
-- One row = one stretch, `watched` (a proxy was up) or `calls` (calls that began in the same minute, to the last one's
-- end); from_us and to_us are microseconds UTC, to_us of what is still open is now. $api_key_id: the key's id;
-- $from_us: the moment. Read by `submeter doctor`, which looks for work on the bill that the meter did not see.
SELECT
    'watched' AS kind,
    epoch_us(from_at) AS from_us,
    epoch_us(to_at) AS to_us
FROM watched_times
WHERE epoch_us(to_at) >= $from_us
UNION ALL
SELECT
    'calls' AS kind,
    epoch_us(min(started_at)) AS from_us,
    max(coalesce(epoch_us(ended_at), getvariable('submeter_now_us'), epoch_us(now()))) AS to_us
FROM calls
WHERE api_key_id = $api_key_id
  AND epoch_us(started_at) >= $from_us - 86400000000
GROUP BY date_trunc('minute', started_at)
ORDER BY kind, from_us, to_us;
