-- What each step of a run cost by a list of prices ($prices, as in call_costs; $framework, $run_id).
-- One row = one step, and one row with step NULL for calls without a step; columns as in run_costs.
-- Read by `submeter steps`, `compare` and `report`.
SELECT
    framework,
    run_id,
    step,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(cost_usd) END AS DOUBLE) AS cost_usd,
    count(*) - count(cost_usd) AS unpriced,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(uncached_input_usd) END AS DOUBLE) AS uncached_input_usd,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(cached_input_usd) END AS DOUBLE) AS cached_input_usd,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(cache_write_usd) END AS DOUBLE) AS cache_write_usd,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(output_usd) END AS DOUBLE) AS output_usd,
    CAST(CASE WHEN count(*) = count(cost_usd) THEN sum(saved_usd) END AS DOUBLE) AS saved_usd,
    list(DISTINCT priced_as ORDER BY priced_as) FILTER (priced_as IS NOT NULL) AS priced_as
FROM call_costs($prices)
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
GROUP BY framework, run_id, step
ORDER BY framework, run_id, step;
