-- Every step of every run, and what it used, in the order of runs and steps. One row = one step.
-- Tokens are sums of counted calls; zeros where the meter was up and no call came, NULL where nobody can know.
-- Read by `submeter demo`.
SELECT
    framework,
    run_id AS run,
    step,
    calls,
    input_tokens AS input,
    cached_input_tokens AS cached,
    output_tokens AS output,
    unknown
FROM step_usage
ORDER BY framework, run_id, step IS NULL, first_begun_at, step;
