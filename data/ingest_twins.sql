-- Notes creates that share a request_id within an hour of each other, after this turn's readings are in.
-- Bounded to the turn's hours ($first and $last: when its first and last call started, in microseconds): zone maps
-- keep it cheap, and any pair is found whichever of the two came in last.
-- WebSocket rows (status 101) share the request_id of their handshake and are no twins. Run by ingest alone.
INSERT INTO twins
WITH near AS (
    SELECT call_id, request_id, started_at
    FROM readings
    WHERE started_at BETWEEN make_timestamp($first - 3600000000) AND make_timestamp($last + 3600000000)
      AND operation = 'create'
      AND status_code IS DISTINCT FROM 101
      AND request_id IN (SELECT s.request_id FROM staged_calls AS s WHERE s.kind = 'settle' AND s.request_id IS NOT NULL)
),
pairs AS (
    SELECT call_id, request_id
    FROM near
    WINDOW same AS (PARTITION BY request_id ORDER BY started_at, call_id)
    QUALIFY started_at - lag(started_at) OVER same <= INTERVAL 1 HOUR
        OR lead(started_at) OVER same - started_at <= INTERVAL 1 HOUR
)
SELECT call_id, request_id
FROM pairs
WHERE call_id NOT IN (SELECT t.call_id FROM twins AS t);
