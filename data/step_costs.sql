-- What each step of a run cost by a list of prices ($prices, as in call_costs; $framework, $run_id).
-- One row = one step, and one row with step NULL for calls without a step; columns as in run_costs.
-- Read by `submeter steps`, `compare` and `report`.
SELECT
    framework,
    run_id,
    step,
    cost_sum(cost_usd, cost_usd) AS cost_usd,
    count(*) - count(cost_usd) AS unpriced,
    cost_sum(uncached_input_usd, cost_usd) AS uncached_input_usd,
    cost_sum(cached_input_usd, cost_usd) AS cached_input_usd,
    cost_sum(cache_write_usd, cost_usd) AS cache_write_usd,
    cost_sum(output_usd, cost_usd) AS output_usd,
    cost_sum(saved_usd, cost_usd) AS saved_usd,
    list(DISTINCT priced_as ORDER BY priced_as) FILTER (priced_as IS NOT NULL) AS priced_as
FROM call_costs($prices)
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
GROUP BY framework, run_id, step
ORDER BY framework, run_id, step;
