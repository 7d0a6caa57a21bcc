-- Every run, and its one episode where nothing but one can be: begun once and ended once, by marks, and all its other
-- marks and calls in between. One row = one run; plain: false where it is otherwise, and `audit_runs` tells of it; times
-- in microseconds UTC by the provider's clock, as there. Says of plain runs what `runs` does (a test holds it to that),
-- without putting every mark and every minute of calls in order. Read by the audit.
WITH known AS MATERIALIZED (
    SELECT
        k.framework,
        k.run_id,
        k.kind,
        k.edge,
        k.marked_by,
        k.marked_at,
        s.skew_us,
        s.skew_known
    FROM known_marks AS k
    JOIN mark_skews AS s ON s.file_id = k.file_id AND s.line_offset = k.line_offset
),
called AS (
    SELECT framework, run_id, min(started_at) AS first_called_at, max(started_at) AS last_called_at
    FROM standings
    WHERE run_id IS NOT NULL
    GROUP BY framework, run_id
),
marked AS (
    SELECT
        framework,
        run_id,
        count(*) FILTER (kind = 'run' AND edge = 'begin') AS begins,
        count(*) FILTER (kind = 'run' AND edge = 'end') AS ends,
        min(marked_at) AS first_marked_at,
        max(marked_at) FILTER (edge = 'begin') AS last_begun_at,
        min(marked_at) FILTER (kind = 'run' AND edge = 'begin') AS begun_at,
        max(marked_at) FILTER (kind = 'run' AND edge = 'end') AS ended_at,
        bool_or(marked_by = 'metrics') FILTER (kind = 'run' AND edge = 'end') AS imported
    FROM known
    GROUP BY framework, run_id
),
told AS (
    SELECT framework, run_id, marked_at, max(skew_us) AS skew_us, bool_and(skew_known) AS skew_known
    FROM known
    GROUP BY framework, run_id, marked_at
),
weighed AS (
    SELECT
        coalesce(m.framework, c.framework) AS framework,
        coalesce(m.run_id, c.run_id) AS run_id,
        m.begun_at,
        m.ended_at,
        m.imported,
        coalesce(
            m.begins = 1
            AND m.ends = 1
            AND m.first_marked_at = m.begun_at
            AND m.last_begun_at < m.ended_at
            AND (c.run_id IS NULL OR (c.first_called_at >= m.begun_at AND c.last_called_at < m.ended_at)),
            false
        ) AS plain
    FROM marked AS m
    FULL JOIN called AS c ON c.run_id = m.run_id AND c.framework IS NOT DISTINCT FROM m.framework
)
SELECT
    w.framework,
    w.run_id,
    w.plain,
    epoch_us(w.begun_at) + b.skew_us AS started_us,
    epoch_us(w.ended_at) + e.skew_us AS ended_us,
    CASE WHEN w.imported THEN 'metrics' ELSE 'mark' END AS end_source,
    b.skew_known AND e.skew_known AS skew_known
FROM weighed AS w
LEFT JOIN told AS b
    ON b.run_id = w.run_id
    AND b.marked_at = w.begun_at
    AND b.framework IS NOT DISTINCT FROM w.framework
LEFT JOIN told AS e
    ON e.run_id = w.run_id
    AND e.marked_at = w.ended_at
    AND e.framework IS NOT DISTINCT FROM w.framework
ORDER BY w.run_id, w.framework;
