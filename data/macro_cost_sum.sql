-- The sum of a part of what calls cost, USD, as DOUBLE; NULL where the cost of any of them is not known, so that no sum is
-- too low unsaid. An aggregate. Inner macro of `run_costs` and `step_costs`.
CREATE OR REPLACE MACRO cost_sum(part, cost) AS
CAST(CASE WHEN count(*) = count(cost) THEN sum(part) END AS DOUBLE);
