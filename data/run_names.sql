-- The runs that a user may mean by $name, which is a run id or framework/$run_id; one row = one of them.
-- Out of stored columns, so that the ledger is not summed for it; a run whose framework no call of it tells has that
-- of its marks. Read by `submeter steps`.
WITH told AS (
    SELECT DISTINCT framework, run_id FROM readings WHERE run_id = $name OR run_id = $run_id
    UNION
    SELECT DISTINCT framework, run_id FROM open_calls WHERE run_id = $name OR run_id = $run_id
    UNION
    SELECT DISTINCT framework, run_id FROM known_marks WHERE edge = 'begin' AND (run_id = $name OR run_id = $run_id)
),
declared AS (
    SELECT run_id, min(framework) AS framework
    FROM marks
    WHERE framework IS NOT NULL AND (run_id = $name OR run_id = $run_id)
    GROUP BY run_id
    HAVING count(DISTINCT framework) = 1
)
SELECT DISTINCT
    CASE WHEN t.framework IS NULL THEN d.framework ELSE t.framework END AS framework,
    t.run_id
FROM told AS t
LEFT JOIN declared AS d ON d.run_id = t.run_id
ORDER BY framework, t.run_id;
