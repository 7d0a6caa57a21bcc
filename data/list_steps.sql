-- The steps of one run ($framework, which may be NULL, and $run_id), in the order they first began; times UTC.
-- One row = one step over all its visits, and last one row with step NULL for the run's calls without a step.
-- Sums as in step_usage: counted calls alone, NULL where nobody said a count, beside `unknown`.
-- Read by `submeter steps`.
WITH visited AS (
    SELECT
        step,
        count(*) AS visits,
        CASE WHEN count(*) = count(ended_at) THEN max(ended_at) END AS ended_at,
        arg_max(status, visit) AS status
    FROM steps
    WHERE run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
    GROUP BY step
)
SELECT
    u.step,
    v.visits,
    u.first_begun_at AS started_at,
    v.ended_at,
    v.status,
    u.calls,
    u.creates,
    u.counted,
    u.unknown,
    u.uncovered,
    u.unbilled,
    u.input_tokens,
    u.cached_input_tokens,
    u.cache_write_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    u.images,
    u.covered
FROM step_usage AS u
LEFT JOIN visited AS v ON v.step = u.step
WHERE u.run_id = $run_id AND u.framework IS NOT DISTINCT FROM $framework
ORDER BY u.step IS NULL, u.first_begun_at, u.step;
