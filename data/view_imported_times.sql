-- One row = one stretch of time [from_at, to_at) of one imported run, and its step there where exactly one was open.
-- sure: true: an unlabelled call of the framework that began then is this run's; false: it could be this run's or
-- another's; NULL: outside the run's own time, so that the stretch gives a step to calls whose run is known and
-- nothing else. A run's own time is what its file tells of the run, not of its steps, which are in whole seconds.
-- A run without an end is sure until its last mark, and may have had any call of the 60 minutes after it, which is when
-- a run that is idle ends. An end that cannot be (before its begin, or over 31 days after it) says nothing.
-- From `by = metrics` marks alone. Ingest keeps it as the table `time_labels`.
CREATE OR REPLACE VIEW imported_times AS
WITH told AS (
    SELECT
        framework,
        run_id,
        coalesce(
            min(marked_at) FILTER (kind = 'run' AND edge = 'begin'),
            min(marked_at) FILTER (edge = 'begin')
        ) AS from_at,
        max(marked_at) FILTER (kind = 'run' AND edge = 'end') AS end_at,
        max(marked_at) AS last_marked_at
    FROM marks
    WHERE marked_by = 'metrics' AND framework IS NOT NULL
    GROUP BY framework, run_id
),
bounded AS (
    SELECT
        framework,
        run_id,
        from_at,
        end_at,
        coalesce(end_at >= from_at AND end_at <= from_at + INTERVAL 31 DAY, false) AS ended,
        least(greatest(last_marked_at, from_at), from_at + INTERVAL 31 DAY) AS last_seen_at
    FROM told
    WHERE from_at IS NOT NULL
),
windows AS (
    SELECT
        framework,
        run_id,
        from_at,
        CASE WHEN ended THEN end_at WHEN end_at IS NULL THEN last_seen_at ELSE from_at END AS sure_until,
        CASE WHEN ended THEN end_at ELSE last_seen_at + INTERVAL 60 MINUTE END AS to_at
    FROM bounded
),
turns AS (
    SELECT
        framework,
        run_id,
        step,
        edge,
        marked_at,
        row_number() OVER (PARTITION BY framework, run_id, step, edge ORDER BY marked_at) AS visit
    FROM known_marks
    WHERE marked_by = 'metrics' AND framework IS NOT NULL AND kind = 'step'
),
begun AS (
    SELECT
        framework,
        run_id,
        step,
        visit,
        marked_at,
        lead(marked_at) OVER (PARTITION BY framework, run_id ORDER BY marked_at, step, visit) AS next_marked_at
    FROM turns
    WHERE edge = 'begin'
),
visited AS (
    SELECT
        b.framework,
        b.run_id,
        b.step,
        b.marked_at AS from_at,
        least(
            coalesce(e.marked_at, b.next_marked_at, greatest(w.to_at, b.marked_at)),
            b.marked_at + INTERVAL 31 DAY
        ) AS to_at
    FROM begun AS b
    JOIN windows AS w ON w.framework = b.framework AND w.run_id = b.run_id
    LEFT JOIN turns AS e
        ON e.framework = b.framework
        AND e.run_id = b.run_id
        AND e.step = b.step
        AND e.visit = b.visit
        AND e.edge = 'end'
),
spans AS (
    -- Of runs (step NULL) and of steps (sure NULL), a row for each day, so that what holds a stretch is found without trying all.
    SELECT
        framework,
        run_id,
        NULL AS step,
        true AS sure,
        from_at,
        sure_until AS to_at,
        unnest(range(date_trunc('day', from_at), sure_until, INTERVAL 1 DAY)) AS day
    FROM windows
    WHERE sure_until > from_at
    UNION ALL
    SELECT
        framework,
        run_id,
        NULL AS step,
        false AS sure,
        sure_until AS from_at,
        to_at,
        unnest(range(date_trunc('day', sure_until), to_at, INTERVAL 1 DAY)) AS day
    FROM windows
    WHERE to_at > sure_until
    UNION ALL
    SELECT
        framework,
        run_id,
        step,
        NULL AS sure,
        from_at,
        to_at,
        unnest(range(date_trunc('day', from_at), to_at, INTERVAL 1 DAY)) AS day
    FROM visited
    WHERE to_at > from_at
),
edges AS (
    SELECT framework, from_at AS "at" FROM spans
    UNION
    SELECT framework, to_at FROM spans
    UNION
    SELECT framework, day FROM spans WHERE day > from_at
),
stretches AS (
    SELECT framework, "at" AS from_at, lead("at") OVER (PARTITION BY framework ORDER BY "at") AS to_at
    FROM edges
),
held AS (
    SELECT
        s.framework,
        p.run_id,
        s.from_at,
        s.to_at,
        bool_and(p.sure) AS sure,
        CASE WHEN min(p.step) = max(p.step) THEN min(p.step) END AS step
    FROM stretches AS s
    JOIN spans AS p
        ON p.framework = s.framework
        AND p.day = date_trunc('day', s.from_at)
        AND p.from_at <= s.from_at
        AND p.to_at > s.from_at
    GROUP BY s.framework, p.run_id, s.from_at, s.to_at
),
weighed AS (
    SELECT
        framework,
        run_id,
        from_at,
        to_at,
        step,
        CASE WHEN sure IS NOT NULL THEN sure AND count(sure) OVER (PARTITION BY framework, from_at) = 1 END AS sure
    FROM held
),
changes AS (
    SELECT
        framework,
        run_id,
        from_at,
        to_at,
        step,
        sure,
        from_at IS DISTINCT FROM lag(to_at) OVER before_it
        OR step IS DISTINCT FROM lag(step) OVER before_it
        OR sure IS DISTINCT FROM lag(sure) OVER before_it AS new
    FROM weighed
    WINDOW before_it AS (PARTITION BY framework, run_id ORDER BY from_at)
),
numbered AS (
    SELECT
        framework,
        run_id,
        from_at,
        to_at,
        step,
        sure,
        count(*) FILTER (new) OVER (
            PARTITION BY framework, run_id ORDER BY from_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS stretch
    FROM changes
)
SELECT
    framework,
    run_id,
    any_value(step) AS step,
    min(from_at) AS from_at,
    max(to_at) AS to_at,
    any_value(sure) AS sure
FROM numbered
GROUP BY framework, run_id, stretch
HAVING any_value(step) IS NOT NULL OR any_value(sure) IS NOT NULL;
