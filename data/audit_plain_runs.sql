-- Every run, and its one episode where nothing but one can be: begun once and ended once, by marks, and all its other
-- marks and calls in between. One row = one run; plain: false where it is otherwise, and `audit_runs` tells of all runs
-- of that run_id; times in microseconds UTC by the provider's clock, as there. Says of plain runs what `runs` does (a
-- test holds it to that), without putting every mark and every minute of calls in order: marks that one process wrote
-- while its clock stepped back, and those whose framework only calls tell, are never plain. $since_us BIGINT: marks of before
-- are left out, as the calls of then are. Read by the audit.
WITH unsure AS (
    SELECT run_id
    FROM marks
    WHERE marked_at >= make_timestamp($since_us)
    GROUP BY run_id, file_id
    HAVING (
            bool_or(marked_by <> 'metrics')
            AND list(marked_at ORDER BY line_offset) <> list(marked_at ORDER BY marked_at)
        )
        OR bool_or(marked_by = 'metrics' AND framework IS NULL)
),
imported_runs AS (
    SELECT framework, run_id, min(marked_at) AS begun_at
    FROM marks
    WHERE marked_by = 'metrics' AND kind = 'run' AND edge = 'begin' AND marked_at >= make_timestamp($since_us)
    GROUP BY framework, run_id
),
placed AS (
    SELECT
        coalesce(m.framework, d.framework) AS framework,
        m.run_id,
        m.kind,
        m.edge,
        m.marked_by = 'metrics' AS imported,
        m.marked_at,
        m.file_id,
        m.line_offset
    FROM marks AS m
    LEFT JOIN declared_runs AS d ON d.run_id = m.run_id
    WHERE m.marked_at >= make_timestamp($since_us)
),
kinds AS (
    SELECT framework, run_id, kind, bool_and(imported) AS imported
    FROM placed
    GROUP BY framework, run_id, kind
),
known AS (
    -- As in `known_marks`: imported marks only where the run has none of this kind of its own, and no imported step
    -- begins in the second before its run does.
    SELECT
        p.framework,
        p.run_id,
        p.kind,
        p.edge,
        p.imported,
        CASE
            WHEN p.imported AND p.kind = 'step' AND p.marked_at > i.begun_at - INTERVAL 1 SECOND
                THEN greatest(p.marked_at, i.begun_at)
            ELSE p.marked_at
        END AS marked_at,
        s.skew_us,
        s.skew_known
    FROM placed AS p
    JOIN kinds AS k
        ON k.run_id = p.run_id
        AND k.kind = p.kind
        AND k.imported = p.imported
        AND k.framework IS NOT DISTINCT FROM p.framework
    LEFT JOIN imported_runs AS i ON i.framework = p.framework AND i.run_id = p.run_id
    JOIN mark_skews AS s ON s.file_id = p.file_id AND s.line_offset = p.line_offset
),
called AS (
    SELECT
        framework,
        run_id,
        make_timestamp(min(started_us)) AS first_called_at,
        make_timestamp(max(started_us)) AS last_called_at
    FROM audited_calls
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
        bool_or(imported) FILTER (kind = 'run' AND edge = 'end') AS imported
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
            AND (c.run_id IS NULL OR (c.first_called_at >= m.begun_at AND c.last_called_at < m.ended_at))
            AND m.run_id NOT IN (SELECT u.run_id FROM unsure AS u)
            AND m.run_id NOT IN (SELECT p.run_id FROM placed AS p WHERE p.framework IS NULL),
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
    AND b.framework = w.framework
LEFT JOIN told AS e
    ON e.run_id = w.run_id
    AND e.marked_at = w.ended_at
    AND e.framework = w.framework
ORDER BY w.run_id, w.framework;
