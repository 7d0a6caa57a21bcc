-- What each call cost, of a framework and run ($framework, $run_id; NULL: all), by the prices of `--prices` ($prices:
-- their JSON, as the macro `call_costs` takes it). One row = one create that may have cost something; USD, NULL where it is not known,
-- and why says why. Read by people and the report.
SELECT
    call_id,
    framework,
    run_id,
    step,
    started_at,
    standing,
    model,
    service_tier,
    priced_as,
    cost_usd,
    uncached_input_usd,
    cached_input_usd,
    cache_write_usd,
    output_usd,
    saved_usd,
    why
FROM call_costs($prices)
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
ORDER BY started_at, call_id;
