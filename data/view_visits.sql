-- One row = one visit of a step by its marks: from its begin to its own end, the next begin in the run, or the run's
-- end, whichever comes first; ended_at NULL: none of them was marked. Inner view of `steps` and `step_usage`.
-- covered: a proxy of this ledger was up through the visit, without a gap in its journal.
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
        count(*) FILTER (edge = 'begin' OR kind = 'run') OVER (
            PARTITION BY run_id, framework
            ORDER BY marked_at, "at", file_id, line_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS turn
    FROM known_marks
    WHERE kind = 'step' OR edge = 'end'
),
turns AS (
    SELECT
        framework,
        run_id,
        step,
        kind,
        edge,
        marked_by,
        marked_at,
        "at",
        file_id,
        line_offset,
        turn,
        max(step) FILTER (kind = 'step' AND edge = 'begin') OVER (PARTITION BY run_id, framework, turn) AS begun_step,
        status
    FROM edges
),
closed AS (
    SELECT
        framework,
        run_id,
        turn,
        max(step) FILTER (kind = 'step' AND edge = 'begin') AS step,
        max(marked_by) FILTER (kind = 'step' AND edge = 'begin') AS marked_by,
        min(marked_at) AS turned_at,
        min(marked_at) FILTER (kind = 'step' AND edge = 'end' AND step = begun_step) AS own_end_at,
        arg_min(status, marked_at) FILTER (
            kind = 'step' AND edge = 'end' AND step = begun_step AND status IS NOT NULL
        ) AS status
    FROM turns
    GROUP BY framework, run_id, turn
),
followed AS (
    SELECT
        framework,
        run_id,
        turn,
        step,
        marked_by,
        turned_at AS started_at,
        status,
        coalesce(own_end_at, lead(turned_at) OVER (PARTITION BY run_id, framework ORDER BY turn)) AS ended_at
    FROM closed
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
    EXISTS (
        SELECT 1
        FROM watched_times AS w
        WHERE w.from_at <= f.started_at
          AND w.to_at >= coalesce(
              f.ended_at, make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
          )
    )
    AND NOT EXISTS (
        SELECT 1
        FROM gaps AS g
        WHERE g.to_at >= f.started_at
          AND g.from_at <= coalesce(
              f.ended_at, make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
          )
    ) AS covered
FROM followed AS f
WHERE f.step IS NOT NULL;
