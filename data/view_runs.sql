-- One row = one episode of a run: from its begin to its end, in UTC. name is framework/run_id, as users write it.
-- end_source: `mark` (its end was marked), `metrics` (by an imported file), `idle` (60 minutes without a call and none
-- open; ended_at is its last sign of life), `process` (the process that began it is gone); NULL: still open.
-- begun_by: who marked its begin; NULL: its first labelled call was the begin. Read by `submeter runs` and the audit.
CREATE OR REPLACE VIEW runs AS
WITH episodes AS (
    SELECT
        framework,
        run_id,
        episode,
        min(happened_at) FILTER (event IN ('run_begin', 'step_begin', 'calls')) AS started_at,
        max(until_at) AS last_active_at,
        max(happened_at) FILTER (event = 'run_end') AS marked_end_at,
        arg_max(marked_by, happened_at) FILTER (event = 'run_end') AS ended_by,
        arg_max(status, happened_at) FILTER (event = 'run_end' AND status IS NOT NULL) AS status,
        arg_min(marked_by, happened_at) FILTER (event IN ('run_begin', 'step_begin')) AS begun_by,
        arg_min(file_id, happened_at) FILTER (event IN ('run_begin', 'step_begin')) AS begun_in,
        bool_or(open) AS has_open_call
    FROM run_events
    WHERE episode IS NOT NULL
    GROUP BY framework, run_id, episode
),
watched AS (
    SELECT
        e.framework,
        e.run_id,
        e.episode,
        e.started_at,
        e.last_active_at,
        e.marked_end_at,
        e.ended_by,
        e.status,
        e.begun_by,
        e.has_open_call,
        e.episode < max(e.episode) OVER (PARTITION BY e.run_id, e.framework) AS begun_again,
        CASE
            WHEN p.mode NOT IN ('mark', 'metrics', 'audit') AND (p.stopped_at IS NOT NULL OR p.gone_at IS NOT NULL)
                THEN greatest(coalesce(p.stopped_at, p.last_line_at), e.last_active_at)
        END AS process_ended_at,
        make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now()))) AS now_at
    FROM episodes AS e
    LEFT JOIN processes AS p ON p.file_id = e.begun_in
)
SELECT
    CASE WHEN framework IS NULL THEN run_id ELSE framework || '/' || run_id END AS name,
    framework,
    run_id,
    episode,
    started_at,
    CASE
        WHEN marked_end_at IS NOT NULL THEN marked_end_at
        WHEN begun_again THEN last_active_at
        WHEN has_open_call THEN NULL
        WHEN process_ended_at < last_active_at + INTERVAL 60 MINUTE THEN process_ended_at
        WHEN now_at >= last_active_at + INTERVAL 60 MINUTE THEN last_active_at
    END AS ended_at,
    CASE
        WHEN marked_end_at IS NOT NULL AND ended_by = 'metrics' THEN 'metrics'
        WHEN marked_end_at IS NOT NULL THEN 'mark'
        WHEN begun_again THEN 'idle'
        WHEN has_open_call THEN NULL
        WHEN process_ended_at < last_active_at + INTERVAL 60 MINUTE THEN 'process'
        WHEN now_at >= last_active_at + INTERVAL 60 MINUTE THEN 'idle'
    END AS end_source,
    status,
    begun_by,
    last_active_at
FROM watched;
