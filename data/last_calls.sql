-- When each run of the last 24 hours last had a call: its end, else its start. One row = one run.
-- active_at_us is microseconds UTC. Read by a proxy as it starts, to tell a run that is open from one left idle.
SELECT
    framework,
    run_id,
    epoch_us(max(coalesce(ended_at, started_at))) AS active_at_us
FROM calls
WHERE run_id IS NOT NULL
  AND epoch_us(started_at) >= coalesce(getvariable('submeter_now_us'), epoch_us(now())) - 86400000000
GROUP BY framework, run_id
ORDER BY framework, run_id;
