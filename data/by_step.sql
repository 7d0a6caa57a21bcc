-- What each step used, side by side for all runs of a framework ($framework; NULL: all).
-- One row = one run and step (step NULL: its calls without one), in the order they began. Columns as in step_usage.
-- Read by people and the report.
SELECT
    framework,
    run_id,
    step,
    first_begun_at,
    calls,
    counted,
    unknown,
    optional,
    ambiguous,
    uncovered,
    unbilled,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    reasoning_tokens,
    images,
    covered
FROM step_usage
WHERE $framework IS NULL OR framework = $framework
ORDER BY framework, run_id, step IS NULL, first_begun_at, step;
