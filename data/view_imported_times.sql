-- One row = one stretch of time [from_at, to_at) in which exactly one imported run of a framework was going on, and
-- its step if exactly one was. Stretches of a framework do not overlap; where two runs overlap there is no label.
-- Ingest keeps it as the table `time_labels` whenever marks come in; from `by = metrics` marks alone.
CREATE OR REPLACE VIEW imported_times AS
WITH imported AS (
    SELECT kind, framework, run_id, step, edge, marked_at
    FROM known_marks
    WHERE marked_by = 'metrics' AND framework IS NOT NULL
),
windows AS (
    SELECT
        framework,
        run_id,
        min(marked_at) FILTER (edge = 'begin') AS from_at,
        max(marked_at) FILTER (edge = 'end') AS to_at,
        row_number() OVER (ORDER BY framework, run_id) AS number
    FROM imported
    GROUP BY framework, run_id
),
turns AS (
    SELECT
        framework,
        run_id,
        step,
        edge,
        marked_at,
        row_number() OVER (PARTITION BY framework, run_id, step, edge ORDER BY marked_at) AS visit
    FROM imported
    WHERE kind = 'step'
),
visits AS (
    SELECT
        b.framework,
        b.run_id,
        b.step,
        b.marked_at AS from_at,
        e.marked_at AS to_at,
        row_number() OVER (ORDER BY b.framework, b.run_id, b.step, b.visit) AS number
    FROM turns AS b
    JOIN turns AS e
        ON e.framework = b.framework
        AND e.run_id = b.run_id
        AND e.step = b.step
        AND e.visit = b.visit
        AND e.edge = 'end'
    WHERE b.edge = 'begin' AND e.marked_at > b.marked_at
),
edges AS (
    SELECT framework, from_at AS "at", 1 AS runs, number AS run_sum, 0 AS steps, 0 AS step_sum FROM windows
    UNION ALL
    SELECT framework, to_at, -1, -number, 0, 0 FROM windows
    UNION ALL
    SELECT framework, from_at, 0, 0, 1, number FROM visits
    UNION ALL
    SELECT framework, to_at, 0, 0, -1, -number FROM visits
),
instants AS (
    SELECT
        framework,
        "at",
        sum(runs) AS runs,
        sum(run_sum) AS run_sum,
        sum(steps) AS steps,
        sum(step_sum) AS step_sum
    FROM edges
    WHERE "at" IS NOT NULL
    GROUP BY framework, "at"
),
stretches AS (
    SELECT
        framework,
        "at" AS from_at,
        lead("at") OVER going_on AS to_at,
        sum(runs) OVER going_on AS runs,
        sum(run_sum) OVER going_on AS run_sum,
        sum(steps) OVER going_on AS steps,
        sum(step_sum) OVER going_on AS step_sum
    FROM instants
    WINDOW going_on AS (PARTITION BY framework ORDER BY "at")
)
SELECT
    s.framework,
    w.run_id,
    v.step,
    s.from_at,
    s.to_at
FROM stretches AS s
JOIN windows AS w ON w.number = s.run_sum AND w.framework = s.framework
LEFT JOIN visits AS v
    ON s.steps = 1
    AND v.number = s.step_sum
    AND v.framework = w.framework
    AND v.run_id = w.run_id
WHERE s.runs = 1 AND w.to_at IS NOT NULL;
