-- One row = one run id that marks give to one framework and to no other. Inner view: a call or a mark of this run that
-- names no framework is of that one.
CREATE OR REPLACE VIEW declared_runs AS
SELECT run_id, min(framework) AS framework
FROM marks
WHERE framework IS NOT NULL
GROUP BY run_id
HAVING min(framework) = max(framework);
