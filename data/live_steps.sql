-- What each step of some runs ($run_ids: their ids) used. One row = one step (step NULL: calls without one) of one run,
-- in the order they began. Columns as in step_usage. Read by the live page.
SELECT
    framework,
    run_id,
    step,
    calls,
    unknown,
    optional,
    ambiguous,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    reasoning_tokens,
    covered
FROM step_usage
WHERE list_contains($run_ids, run_id)
ORDER BY framework, run_id, step IS NULL, first_begun_at, step;
