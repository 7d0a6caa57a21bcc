-- What each run cost by a list of prices ($prices, as in call_costs), of a framework ($framework; NULL: all).
-- One row = one run, and one row with run_id NULL for the calls of a framework without a run. USD; cost_usd and its parts
-- are NULL where a call of it has no known cost, and unpriced is how many have none: no sum is too low unsaid. Calls that
-- are `unknown` or `optional` are in neither. priced_as: the models of the prices.
-- Read by `submeter runs`, `compare`, `report` and `metrics update`.
SELECT
    framework,
    run_id,
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
GROUP BY framework, run_id
ORDER BY framework, run_id;
