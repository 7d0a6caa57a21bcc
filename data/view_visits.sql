-- One row = one visit of a step by its marks: from its begin to its own end, the next begin in the run, or the run's
-- end, whichever comes first; ended_at NULL: none of them was marked. Inner view of `steps` and `step_usage`.
-- covered: a proxy of this ledger was up through the visit, without a gap in its journal; never where it was imported
-- and nobody ended it. A visit that nobody ended
-- goes on until the end of the proxy that began it, else until its run was idle for 60 minutes, else until now, and
-- in any case until the run's last sign of life (of any framework, so that a stored column can be looked up).
CREATE OR REPLACE VIEW visits AS
WITH edges AS (
    SELECT
        framework,
        run_id,
        step,
        kind,
        edge,
        status,
        marked_by,
        marked_at,
        "at",
        file_id,
        line_offset,
        count(*) FILTER (edge = 'begin' OR kind = 'run') OVER so_far AS turn,
        last_value(
            CASE WHEN kind = 'run' THEN '' WHEN edge = 'begin' THEN step END IGNORE NULLS
        ) OVER so_far AS begun_step
    FROM known_marks
    WHERE kind = 'step' OR edge = 'end'
    WINDOW so_far AS (
        PARTITION BY run_id, framework
        ORDER BY marked_at, "at", file_id, line_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
closed AS (
    SELECT
        framework,
        run_id,
        turn,
        max(step) FILTER (kind = 'step' AND edge = 'begin') AS step,
        max(marked_by) FILTER (kind = 'step' AND edge = 'begin') AS marked_by,
        max(file_id) FILTER (kind = 'step' AND edge = 'begin') AS begun_in,
        max(marked_at) AS last_marked_at,
        min(marked_at) AS turned_at,
        min(marked_at) FILTER (kind = 'step' AND edge = 'end' AND step = begun_step) AS own_end_at,
        arg_min(status, marked_at) FILTER (
            kind = 'step' AND edge = 'end' AND step = begun_step AND status IS NOT NULL
        ) AS status
    FROM edges
    GROUP BY framework, run_id, turn
),
followed AS (
    SELECT
        framework,
        run_id,
        turn,
        step,
        marked_by,
        begun_in,
        max(last_marked_at) OVER (PARTITION BY run_id, framework) AS last_marked_at,
        turned_at AS started_at,
        status,
        coalesce(own_end_at, lead(turned_at) OVER (PARTITION BY run_id, framework ORDER BY turn)) AS ended_at
    FROM closed
),
used AS (
    SELECT run_id, max(used_at) AS last_used_at
    FROM (
        SELECT run_id, ended_at AS used_at FROM readings
        UNION ALL
        SELECT run_id, started_at AS used_at FROM open_calls
    )
    GROUP BY run_id
),
lasting AS (
    SELECT
        f.framework,
        f.run_id,
        f.turn,
        f.step,
        f.marked_by,
        f.started_at,
        f.status,
        f.ended_at,
        p.mode NOT IN ('mark', 'metrics', 'audit')
        AND (p.stopped_at IS NOT NULL OR p.gone_at IS NOT NULL) AS process_ended,
        coalesce(p.stopped_at, p.last_line_at) AS process_ended_at,
        greatest(f.last_marked_at, u.last_used_at) AS last_active_at,
        make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now()))) AS now_at
    FROM followed AS f
    LEFT JOIN processes AS p ON p.file_id = f.begun_in
    LEFT JOIN used AS u ON u.run_id = f.run_id
    WHERE f.step IS NOT NULL
),
until AS (
    SELECT
        framework,
        run_id,
        turn,
        step,
        marked_by,
        started_at,
        status,
        ended_at,
        CASE
            WHEN ended_at IS NOT NULL THEN ended_at
            WHEN process_ended THEN greatest(process_ended_at, last_active_at)
            WHEN now_at >= last_active_at + INTERVAL 60 MINUTE THEN last_active_at
            ELSE now_at
        END AS until_at
    FROM lasting
)
SELECT
    f.framework,
    f.run_id,
    f.step,
    row_number() OVER (PARTITION BY f.run_id, f.framework, f.step ORDER BY f.turn) AS visit,
    f.started_at,
    f.ended_at,
    f.status,
    f.marked_by,
    w.to_at IS NOT NULL
    AND w.to_at >= f.until_at
    AND NOT (f.marked_by = 'metrics' AND f.ended_at IS NULL)
    AND len(
        list_filter(
            coalesce((SELECT list({'from_at': from_at, 'to_at': to_at}) FROM gaps), []),
            lambda gap: gap.to_at >= f.started_at AND gap.from_at <= f.until_at
        )
    ) = 0 AS covered
FROM until AS f
LEFT JOIN watched_times AS w ON w.from_at <= f.started_at AND w.to_at >= f.started_at;
