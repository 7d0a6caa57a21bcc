-- One row = one call with the run and step that it belongs to, and its framework. Inner view of `calls`.
-- Four branches, so that a filter on run_id or framework reaches the stored column of labelled calls:
-- labelled; labelled by a run whose framework only its marks tell; unlabelled and out of reach of any imported run;
-- unlabelled, labelled by time. Labelled calls are never moved.
CREATE OR REPLACE VIEW labelled AS
SELECT a.*
FROM attempts AS a
WHERE (a.run_id IS NOT NULL AND a.framework IS NOT NULL) OR (a.run_id IS NULL AND a.step IS NOT NULL)
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
SELECT a.*
FROM attempts AS a
WHERE a.run_id IS NULL
  AND a.step IS NULL
  AND NOT (
      a.framework IS NOT NULL
      AND a.started_at >= (SELECT coalesce(min(from_at), TIMESTAMP '9999-12-31') FROM time_labels)
  )
UNION ALL
SELECT a.* REPLACE (
    CASE WHEN a.started_at < t.to_at THEN t.run_id END AS run_id,
    CASE WHEN a.started_at < t.to_at THEN t.step END AS step,
    CASE WHEN a.started_at < t.to_at THEN 'time' END AS label_source,
    CASE
        WHEN a.started_at < t.to_at
            AND (a.started_at <= t.from_at + INTERVAL 1 SECOND OR a.started_at >= t.to_at - INTERVAL 1 SECOND)
            THEN list_append(a.flags, 'border')
        ELSE a.flags
    END AS flags
)
FROM (
    SELECT b.*
    FROM attempts AS b
    WHERE b.run_id IS NULL
      AND b.step IS NULL
      AND b.framework IS NOT NULL
      AND b.started_at >= (SELECT coalesce(min(from_at), TIMESTAMP '9999-12-31') FROM time_labels)
) AS a
ASOF LEFT JOIN time_labels AS t ON t.framework = a.framework AND a.started_at >= t.from_at;
