-- Every run episode with the times an audit needs: one row = one episode; times in microseconds UTC by our clock,
-- ended_us NULL while it is open. Read by the audit.
SELECT
    framework,
    run_id,
    episode,
    epoch_us(started_at) AS started_us,
    epoch_us(ended_at) AS ended_us,
    end_source,
    epoch_us(last_active_at) AS last_active_us
FROM runs
WHERE started_at IS NOT NULL
ORDER BY started_at, framework, run_id, episode;
