-- One row = one visit of a step, from begin to end, in UTC. Re-entering a step makes visit 2.
-- ended_at: its own end, the next begin in the run, or the end of the run's episode; NULL: still open.
-- begun_by: who marked it; `call`: no mark tells of this step, so it runs from its first labelled call to its last.
-- covered: a proxy of this ledger was up through it without a gap, so that no call means no use.
-- Read by `submeter steps` and the report.
CREATE OR REPLACE VIEW steps AS
WITH told_by_calls AS (
    SELECT
        c.framework,
        c.run_id,
        c.step,
        min(c.started_at) AS started_at,
        max(greatest(c.started_at, coalesce(c.ended_at, c.started_at))) AS last_active_at,
        bool_or(c.outcome = 'open') AS open
    FROM standings AS c
    LEFT JOIN (
        SELECT DISTINCT framework, run_id, step
        FROM known_marks
        WHERE step IS NOT NULL AND edge = 'begin'
    ) AS m
        ON m.run_id = c.run_id
        AND m.step = c.step
        AND m.framework IS NOT DISTINCT FROM c.framework
    WHERE c.run_id IS NOT NULL AND c.step IS NOT NULL AND m.run_id IS NULL
    GROUP BY c.framework, c.run_id, c.step
)
SELECT
    v.framework,
    v.run_id,
    r.episode,
    v.step,
    v.visit,
    v.started_at,
    coalesce(v.ended_at, r.ended_at) AS ended_at,
    v.status,
    v.marked_by AS begun_by,
    v.covered
FROM visits AS v
LEFT JOIN (
    SELECT
        framework,
        run_id,
        episode,
        started_at,
        ended_at,
        lead(started_at, 1, TIMESTAMP '9999-12-31') OVER (
            PARTITION BY run_id, framework ORDER BY episode
        ) AS next_started_at
    FROM runs
) AS r
    ON r.run_id = v.run_id
    AND r.framework IS NOT DISTINCT FROM v.framework
    AND v.started_at >= r.started_at
    AND v.started_at < r.next_started_at
UNION ALL
SELECT
    framework,
    run_id,
    NULL AS episode,
    step,
    1 AS visit,
    started_at,
    CASE WHEN NOT open THEN last_active_at END AS ended_at,
    NULL AS status,
    'call' AS begun_by,
    true AS covered
FROM told_by_calls;
