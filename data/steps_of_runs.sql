-- Every step of every run of a framework ($framework; NULL: of all). One row = one step of one run, and last one with
-- step NULL for the run's calls without a step. Columns as in step_usage; run_ambiguous: calls of the whole run that could
-- be another's. took_s: seconds from the begin of its only visit to its end, NULL where it goes on, was entered again, or
-- was never told. Read by `submeter compare` and `submeter report`.
WITH visited AS (
    SELECT
        framework,
        run_id,
        step,
        CASE WHEN count(*) = 1 THEN epoch(any_value(ended_at) - any_value(started_at)) END AS took_s
    FROM steps
    GROUP BY framework, run_id, step
),
used AS (
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
        sum(ambiguous) OVER (PARTITION BY run_id, framework) AS run_ambiguous,
        input_tokens,
        cached_input_tokens,
        output_tokens,
        reasoning_tokens
    FROM step_usage
    WHERE $framework IS NULL OR framework = $framework
)
SELECT
    u.framework,
    u.run_id,
    u.step,
    u.first_begun_at,
    u.calls,
    u.counted,
    u.unknown,
    u.optional,
    u.ambiguous,
    CAST(u.run_ambiguous AS BIGINT) AS run_ambiguous,
    u.input_tokens,
    u.cached_input_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    v.took_s
FROM used AS u
LEFT JOIN visited AS v
    ON v.run_id = u.run_id AND v.step = u.step AND v.framework IS NOT DISTINCT FROM u.framework
ORDER BY u.framework, u.run_id, u.step IS NULL, u.first_begun_at, u.step;
