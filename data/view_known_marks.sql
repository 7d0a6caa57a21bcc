-- One row = one mark that tells of a run: its framework filled in where the run id alone names it, imported marks
-- once however often they were imported, and left out where the run has marks of this kind of its own.
-- The marks of one process stand in the order in which it wrote them: where its clock stepped back, a mark is as late
-- as the one before it. An imported step, told in whole seconds, does not begin in the second before its run does.
-- Inner view of `runs` and `steps`.
CREATE OR REPLACE VIEW known_marks AS
WITH used AS (
    SELECT run_id, min(framework) AS framework
    FROM readings
    WHERE framework IS NOT NULL
      AND run_id IN (SELECT undeclared.run_id FROM marks AS undeclared WHERE undeclared.framework IS NULL)
    GROUP BY run_id
    HAVING min(framework) = max(framework)
),
timed AS (
    SELECT
        kind,
        framework,
        run_id,
        step,
        edge,
        status,
        marked_by,
        marked_at,
        max(marked_at) OVER so_far AS marked_so_far,
        min(CASE WHEN kind = 'run' AND edge = 'begin' AND marked_by = 'metrics' THEN marked_at END) OVER (
            PARTITION BY run_id, framework
        ) AS imported_begin_at,
        CASE WHEN marked_by = 'metrics' THEN "at" ELSE max("at") OVER so_far END AS "at",
        file_id,
        line_offset
    FROM marks
    WINDOW so_far AS (
        PARTITION BY run_id, file_id
        ORDER BY line_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
named AS (
    SELECT
        m.kind,
        coalesce(m.framework, d.framework, u.framework) AS framework,
        m.run_id,
        m.step,
        m.edge,
        m.status,
        m.marked_by,
        CASE
            WHEN m.marked_by <> 'metrics' THEN m.marked_so_far
            WHEN m.kind = 'step' AND m.marked_at > m.imported_begin_at - INTERVAL 1 SECOND
                THEN greatest(m.marked_at, m.imported_begin_at)
            ELSE m.marked_at
        END AS marked_at,
        m.at,
        m.file_id,
        m.line_offset
    FROM timed AS m
    LEFT JOIN declared_runs AS d ON d.run_id = m.run_id
    LEFT JOIN used AS u ON u.run_id = m.run_id
)
SELECT kind, framework, run_id, step, edge, status, marked_by, marked_at, "at", file_id, line_offset
FROM named
QUALIFY marked_by <> 'metrics'
    OR (
        NOT bool_or(marked_by <> 'metrics') OVER (PARTITION BY run_id, framework, kind)
        AND row_number() OVER (
            PARTITION BY run_id, framework, kind, step, edge, marked_at, marked_by ORDER BY "at", file_id, line_offset
        ) = 1
    );
