-- The steps of one run ($framework, which may be NULL, and $run_id), in the order they first began; times UTC.
-- One row = one step over all its visits, and last one row with step NULL for the run's calls without a step.
-- Sums as in step_usage: counted calls alone, NULL where nobody said a count or the run has ambiguous calls, beside
-- `unknown`, `optional` and `ambiguous`.
-- Says what step_usage and steps say of the run (a test holds it to that), but takes the run's calls up once: planning
-- those views costs more than reading the run. Read by `submeter steps`.
WITH used AS MATERIALIZED (
    SELECT
        step,
        started_at,
        ended_at,
        outcome,
        operation,
        standing,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        images
    FROM standings
    WHERE run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
),
marked AS MATERIALIZED (
    SELECT kind, edge, marked_at, "at", file_id, line_offset
    FROM known_marks
    WHERE run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
),
doubted AS MATERIALIZED (
    SELECT step, count(*) AS ambiguous
    FROM ambiguous_calls
    WHERE run_id = $run_id AND framework = $framework
    GROUP BY step
),
visited AS MATERIALIZED (
    SELECT step, visit, started_at, ended_at, status, covered
    FROM visits
    WHERE run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
),
sums AS (
    SELECT
        step,
        min(started_at) AS first_called_at,
        max(greatest(started_at, coalesce(ended_at, started_at))) AS last_active_at,
        bool_or(outcome = 'open') AS open,
        count(*) AS calls,
        count(*) FILTER (operation = 'create') AS creates,
        count(*) FILTER (standing = 'counted') AS counted,
        count(*) FILTER (standing = 'unknown') AS unknown,
        count(*) FILTER (standing = 'optional') AS optional,
        count(*) FILTER (standing = 'uncovered') AS uncovered,
        count(*) FILTER (standing = 'unbilled') AS unbilled,
        CAST(sum(input_tokens) FILTER (standing = 'counted') AS BIGINT) AS input_tokens,
        CAST(sum(cached_input_tokens) FILTER (standing = 'counted') AS BIGINT) AS cached_input_tokens,
        CAST(sum(cache_write_tokens) FILTER (standing = 'counted') AS BIGINT) AS cache_write_tokens,
        CAST(sum(output_tokens) FILTER (standing = 'counted') AS BIGINT) AS output_tokens,
        CAST(sum(reasoning_tokens) FILTER (standing = 'counted') AS BIGINT) AS reasoning_tokens,
        CAST(sum(images) FILTER (standing = 'counted') AS BIGINT) AS images
    FROM used
    GROUP BY step
),
-- The visit that no mark ended (there is one at the most: the last) ends with the run's episode, as in `runs`. No run
-- was marked ended after it, so that only idling parts the episodes since the last such end.
events AS (
    SELECT
        marked_at AS happened_at,
        marked_at AS until_at,
        edge = 'begin' AS opening,
        "at" AS written_at,
        file_id,
        line_offset,
        false AS open
    FROM marked
    WHERE NOT (kind = 'run' AND edge = 'end')
    UNION ALL
    SELECT
        min(started_at),
        max(
            CASE
                WHEN outcome = 'open'
                    THEN make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
                WHEN ended_at IS NULL THEN started_at
                ELSE greatest(ended_at, started_at)
            END
        ),
        true,
        min(started_at),
        '',
        0,
        bool_or(outcome = 'open')
    FROM used
    GROUP BY date_trunc('minute', started_at)
),
last_end AS (
    SELECT max({'happened_at': marked_at, 'written_at': "at", 'file_id': file_id, 'line_offset': line_offset}) AS place
    FROM marked
    WHERE kind = 'run' AND edge = 'end'
),
parted AS (
    SELECT
        e.happened_at,
        e.until_at,
        e.opening,
        e.written_at,
        e.file_id,
        e.line_offset,
        e.open,
        e.opening
        AND (
            count(*) FILTER (e.opening) OVER before_it = 0
            OR e.happened_at >= max(e.until_at) OVER before_it + INTERVAL 60 MINUTE
        ) AS begins
    FROM events AS e
    CROSS JOIN last_end AS l
    WHERE l.place IS NULL
        OR {
            'happened_at': e.happened_at,
            'written_at': e.written_at,
            'file_id': e.file_id,
            'line_offset': e.line_offset
        } > l.place
    WINDOW before_it AS (
        ORDER BY e.happened_at, e.written_at, e.file_id, e.line_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
numbered AS (
    SELECT
        happened_at,
        until_at,
        opening,
        file_id,
        open,
        count(*) FILTER (begins) OVER (
            ORDER BY happened_at, written_at, file_id, line_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS episode
    FROM parted
),
episodes AS (
    SELECT
        episode,
        min(happened_at) FILTER (opening) AS started_at,
        lead(min(happened_at) FILTER (opening)) OVER (ORDER BY episode) AS next_started_at,
        max(until_at) AS last_active_at,
        bool_or(open) AS has_open_call,
        arg_min(file_id, happened_at) FILTER (opening AND file_id <> '') AS begun_in,
        make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now()))) AS now_at
    FROM numbered
    WHERE episode > 0
    GROUP BY episode
),
ended AS (
    SELECT
        e.started_at,
        e.next_started_at,
        CASE
            WHEN e.next_started_at IS NOT NULL THEN e.last_active_at
            WHEN e.has_open_call THEN NULL
            WHEN p.mode NOT IN ('mark', 'metrics', 'audit')
                AND (p.stopped_at IS NOT NULL OR p.gone_at IS NOT NULL)
                AND greatest(coalesce(p.stopped_at, p.last_line_at), e.last_active_at)
                    < e.last_active_at + INTERVAL 60 MINUTE
                THEN greatest(coalesce(p.stopped_at, p.last_line_at), e.last_active_at)
            WHEN e.now_at >= e.last_active_at + INTERVAL 60 MINUTE THEN e.last_active_at
        END AS ended_at
    FROM episodes AS e
    LEFT JOIN processes AS p ON p.file_id = e.begun_in
),
visits_of_steps AS (
    SELECT
        v.step,
        count(*) AS visits,
        min(v.started_at) AS first_begun_at,
        CASE
            WHEN count(*) = count(coalesce(v.ended_at, e.ended_at)) THEN max(coalesce(v.ended_at, e.ended_at))
        END AS ended_at,
        arg_max(v.status, v.visit) AS status,
        bool_and(v.covered) AS covered
    FROM visited AS v
    LEFT JOIN ended AS e
        ON v.ended_at IS NULL
        AND v.started_at >= e.started_at
        AND (e.next_started_at IS NULL OR v.started_at < e.next_started_at)
    GROUP BY v.step
),
joined AS (
    SELECT
        coalesce(s.step, v.step) AS step,
        s.first_called_at,
        s.last_active_at,
        s.open,
        s.calls,
        s.creates,
        s.counted,
        s.unknown,
        s.optional,
        s.uncovered,
        s.unbilled,
        s.input_tokens,
        s.cached_input_tokens,
        s.cache_write_tokens,
        s.output_tokens,
        s.reasoning_tokens,
        s.images,
        v.visits,
        v.first_begun_at,
        v.ended_at,
        v.status,
        v.covered
    FROM sums AS s
    FULL JOIN visits_of_steps AS v ON v.step = s.step
),
weighed AS (
    SELECT
        coalesce(j.step, d.step) AS step,
        j.first_called_at,
        j.last_active_at,
        j.open,
        j.calls,
        j.creates,
        j.counted,
        j.unknown,
        j.optional,
        coalesce(d.ambiguous, 0) AS ambiguous,
        j.uncovered,
        j.unbilled,
        j.input_tokens,
        j.cached_input_tokens,
        j.cache_write_tokens,
        j.output_tokens,
        j.reasoning_tokens,
        j.images,
        j.visits,
        j.first_begun_at,
        j.ended_at,
        j.status,
        j.covered,
        j.calls IS NULL AND j.covered AND d.ambiguous IS NULL AS known_empty,
        count(d.ambiguous) OVER () > 0 AS doubtful
    FROM joined AS j
    FULL JOIN doubted AS d ON d.step IS NOT DISTINCT FROM j.step
)
SELECT
    step,
    CASE WHEN visits IS NULL AND step IS NOT NULL THEN 1 ELSE visits END AS visits,
    least(first_called_at, first_begun_at) AS started_at,
    CASE
        WHEN visits IS NOT NULL THEN ended_at
        WHEN step IS NOT NULL AND NOT open THEN last_active_at
    END AS ended_at,
    status,
    CASE WHEN known_empty THEN 0 ELSE calls END AS calls,
    CASE WHEN known_empty THEN 0 ELSE creates END AS creates,
    CASE WHEN known_empty THEN 0 ELSE counted END AS counted,
    CASE WHEN known_empty THEN 0 ELSE unknown END AS unknown,
    CASE WHEN known_empty THEN 0 ELSE optional END AS optional,
    ambiguous,
    CASE WHEN known_empty THEN 0 ELSE uncovered END AS uncovered,
    CASE WHEN known_empty THEN 0 ELSE unbilled END AS unbilled,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE input_tokens END AS input_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE cached_input_tokens END AS cached_input_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE cache_write_tokens END AS cache_write_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE output_tokens END AS output_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE reasoning_tokens END AS reasoning_tokens,
    CASE WHEN doubtful THEN NULL WHEN known_empty THEN 0 ELSE images END AS images,
    CASE WHEN covered IS NULL THEN calls IS NOT NULL ELSE covered END AS covered
FROM weighed
ORDER BY step IS NULL, started_at, step;
