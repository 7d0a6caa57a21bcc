-- One row = one call with the framework, run and step that it belongs to. Inner view of `calls`.
-- Branch by branch, so that a filter on run_id or framework reaches the stored columns, and DuckDB passes over what it
-- knows to hold no NULL: calls that carry both; calls of a run whose framework only its marks tell; calls without a
-- run. Of the last, those without any label are labelled by time where a run of their framework was imported, and
-- flagged `border` within 1 s of its edges (its steps are told in whole seconds). Labelled calls are never moved.
CREATE OR REPLACE VIEW labelled AS
SELECT a.*
FROM attempts AS a
WHERE a.run_id IS NOT NULL AND a.framework IS NOT NULL
UNION ALL
SELECT a.* REPLACE (d.framework AS framework)
FROM attempts AS a
LEFT JOIN (
    SELECT run_id, min(framework) AS framework
    FROM marks
    WHERE framework IS NOT NULL
    GROUP BY run_id
    HAVING count(DISTINCT framework) = 1
) AS d ON d.run_id = a.run_id
WHERE a.run_id IS NOT NULL AND a.framework IS NULL
UNION ALL
SELECT a.* REPLACE (
    t.run_id AS run_id,
    CASE WHEN t.run_id IS NULL THEN a.step ELSE t.step END AS step,
    CASE WHEN t.run_id IS NULL THEN a.label_source ELSE 'time' END AS label_source,
    CASE
        WHEN a.started_at <= t.from_at + INTERVAL 1 SECOND OR a.started_at >= t.to_at - INTERVAL 1 SECOND
            THEN list_append(coalesce(a.flags, []), 'border')
        ELSE a.flags
    END AS flags
)
FROM attempts AS a
LEFT JOIN time_labels AS t
    ON t.framework = a.framework
    AND t.minute = date_trunc('minute', a.started_at)
    AND a.started_at >= t.from_at
    AND a.started_at < t.to_at
    AND a.step IS NULL
WHERE a.run_id IS NULL;
