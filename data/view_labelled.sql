-- One row = one call with the framework, run and step that it belongs to. Inner view of `calls`.
-- Two branches, so that a filter on run_id or framework reaches the stored columns of calls that carry both. The others
-- may have a run whose framework only its marks tell, or no label at all: those are labelled by time where a run of
-- their framework was imported, and flagged `border` within 1 s of its edges (its steps are told in whole seconds).
-- Labelled calls are never moved.
CREATE OR REPLACE VIEW labelled AS
SELECT a.*
FROM attempts AS a
WHERE a.run_id IS NOT NULL AND a.framework IS NOT NULL
UNION ALL
SELECT a.* REPLACE (
    CASE WHEN a.framework IS NULL THEN d.framework ELSE a.framework END AS framework,
    CASE WHEN t.run_id IS NULL THEN a.run_id ELSE t.run_id END AS run_id,
    CASE WHEN t.run_id IS NULL THEN a.step ELSE t.step END AS step,
    CASE WHEN t.run_id IS NULL THEN a.label_source ELSE 'time' END AS label_source,
    CASE
        WHEN a.started_at <= t.from_at + INTERVAL 1 SECOND OR a.started_at >= t.to_at - INTERVAL 1 SECOND
            THEN list_append(coalesce(a.flags, []), 'border')
        ELSE a.flags
    END AS flags
)
FROM attempts AS a
LEFT JOIN (
    SELECT run_id, min(framework) AS framework
    FROM marks
    WHERE framework IS NOT NULL
    GROUP BY run_id
    HAVING count(DISTINCT framework) = 1
) AS d ON d.run_id = a.run_id
LEFT JOIN time_labels AS t
    ON t.framework = a.framework
    AND t.minute = date_trunc('minute', a.started_at)
    AND a.started_at >= t.from_at
    AND a.started_at < t.to_at
    AND a.run_id IS NULL
    AND a.step IS NULL
WHERE a.run_id IS NULL OR a.framework IS NULL;
