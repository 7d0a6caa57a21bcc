-- The runs of a framework ($framework; NULL: of all), oldest first. One row = one run over all its episodes; times UTC.
-- ended_at is NULL while its last episode is open. Sums are tokens (images: images) of the counted calls alone, NULL
-- where none told a count or the run has ambiguous calls, and stand beside `unknown`, `optional` and `ambiguous`. verdict: of its latest audit; NULL: never audited.
-- Read by `submeter runs`, and by every command that takes a RUN.
WITH spans AS (
    SELECT
        framework,
        run_id,
        any_value(name) AS name,
        count(*) AS episodes,
        min(started_at) AS started_at,
        CASE WHEN count(*) = count(ended_at) THEN max(ended_at) END AS ended_at,
        arg_max(end_source, episode) AS end_source,
        arg_max(status, episode) AS status
    FROM runs
    WHERE $framework IS NULL OR framework = $framework
    GROUP BY framework, run_id
)
SELECT
    s.name,
    s.framework,
    s.run_id,
    s.episodes,
    s.started_at,
    s.ended_at,
    s.end_source,
    s.status,
    u.calls,
    u.creates,
    u.counted,
    u.unknown,
    u.optional,
    u.ambiguous,
    u.uncovered,
    u.unbilled,
    u.input_tokens,
    u.cached_input_tokens,
    u.output_tokens,
    u.reasoning_tokens,
    u.images,
    u.covered,
    a.verdict,
    a.audited_at
FROM spans AS s
LEFT JOIN run_usage AS u ON u.run_id = s.run_id AND u.framework IS NOT DISTINCT FROM s.framework
LEFT JOIN run_audit AS a ON a.run_id = s.run_id AND a.framework IS NOT DISTINCT FROM s.framework
ORDER BY s.started_at, s.name, s.run_id;
