-- One row = one event of a run, in order: a mark, or one minute's calls of the run. Inner view of `runs` and `steps`.
-- episode: 1, 2, ... within the run; NULL: before it ever began. A run begins again after its end, or where it is
-- begun (or, if nothing ended it, used) 60 minutes after the last sign of life with no call open.
CREATE OR REPLACE VIEW run_events AS
WITH events AS (
    SELECT
        framework,
        run_id,
        marked_at AS happened_at,
        marked_at AS until_at,
        CASE WHEN kind = 'run' THEN 'run_' || edge ELSE 'step_' || edge END AS event,
        step,
        status,
        marked_by,
        "at" AS written_at,
        file_id,
        line_offset,
        false AS open
    FROM known_marks
    UNION ALL
    SELECT
        framework,
        run_id,
        min(started_at) AS happened_at,
        max(
            CASE
                WHEN outcome = 'open'
                    THEN make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
                WHEN ended_at IS NULL THEN started_at
                ELSE greatest(ended_at, started_at)
            END
        ) AS until_at,
        'calls' AS event,
        NULL AS step,
        NULL AS status,
        NULL AS marked_by,
        min(started_at) AS written_at,
        '' AS file_id,
        0 AS line_offset,
        bool_or(outcome = 'open') AS open
    FROM standings
    WHERE run_id IS NOT NULL
    GROUP BY framework, run_id, date_trunc('minute', started_at)
),
between_ends AS (
    SELECT
        framework,
        run_id,
        happened_at,
        until_at,
        event,
        step,
        status,
        marked_by,
        written_at,
        file_id,
        line_offset,
        open,
        event IN ('run_begin', 'step_begin', 'calls') AS opening,
        count(*) FILTER (event = 'run_end') OVER (
            PARTITION BY run_id, framework
            ORDER BY happened_at, written_at, file_id, line_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ends_before
    FROM events
),
beginnings AS (
    SELECT
        framework,
        run_id,
        happened_at,
        until_at,
        event,
        step,
        status,
        marked_by,
        written_at,
        file_id,
        line_offset,
        open,
        ends_before,
        opening AND count(*) FILTER (opening) OVER before_it = 0 AS first_of_all,
        opening
        AND (event = 'run_begin' OR NOT bool_or(event = 'run_end') OVER (PARTITION BY run_id, framework, ends_before))
        AND happened_at >= max(until_at) OVER before_it + INTERVAL 60 MINUTE AS after_idling
    FROM between_ends
    WINDOW before_it AS (
        PARTITION BY run_id, framework, ends_before
        ORDER BY happened_at, written_at, file_id, line_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
numbered AS (
    SELECT
        framework,
        run_id,
        happened_at,
        until_at,
        event,
        step,
        status,
        marked_by,
        written_at,
        file_id,
        line_offset,
        open,
        count(*) FILTER (first_of_all OR after_idling) OVER (
            PARTITION BY run_id, framework
            ORDER BY happened_at, written_at, file_id, line_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS episode,
        count(*) FILTER (first_of_all OR after_idling) OVER (
            PARTITION BY run_id, framework, ends_before
            ORDER BY happened_at, written_at, file_id, line_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS begun_since_end
    FROM beginnings
)
SELECT
    framework,
    run_id,
    CASE WHEN begun_since_end > 0 THEN episode END AS episode,
    event,
    happened_at,
    until_at,
    step,
    status,
    marked_by,
    written_at,
    file_id,
    line_offset,
    open
FROM numbered;
