-- Which calls are going on now, or were cut off by the end of their proxy.
-- One row = one call without a settle line; open_s: seconds since it began. Times UTC. Read by people.
SELECT
    call_id,
    started_at,
    CAST(coalesce(getvariable('submeter_now_us'), epoch_us(now())) - epoch_us(started_at) AS DOUBLE) / 1e6 AS open_s,
    framework,
    run_id,
    step,
    endpoint,
    outcome,
    host
FROM calls
WHERE outcome IN ('open', 'lost')
ORDER BY started_at, call_id;
