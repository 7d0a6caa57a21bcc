-- One row = one call with its standing and what sums need of it: `calls` again, column for column, without the forty
-- that no sum reads. Inner view of `runs`, `steps`, `step_usage` and `run_usage`, and of `submeter steps`: asked of one
-- run they cost what it takes to plan and set up, which grows with every column. A test holds it to `calls`.
CREATE OR REPLACE VIEW standings AS
WITH placed AS (
    SELECT
        call_id,
        started_at,
        ended_at,
        framework,
        run_id,
        step,
        usage_endpoint,
        operation,
        outcome,
        status_code,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        reasoning_tokens,
        images,
        usage_source,
        flags,
        file_id
    FROM readings
    WHERE run_id IS NOT NULL AND framework IS NOT NULL AND step IS NOT NULL
    UNION ALL
    SELECT
        r.call_id,
        r.started_at,
        r.ended_at,
        r.framework,
        r.run_id,
        t.step,
        r.usage_endpoint,
        r.operation,
        r.outcome,
        r.status_code,
        r.input_tokens,
        r.cached_input_tokens,
        r.cache_write_tokens,
        r.output_tokens,
        r.reasoning_tokens,
        r.images,
        r.usage_source,
        CASE
            WHEN t.step IS NOT NULL
                AND (r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND)
                THEN list_append(coalesce(r.flags, []), 'border')
            ELSE r.flags
        END AS flags,
        r.file_id
    FROM readings AS r
    LEFT JOIN time_labels AS t
        ON t.run_id = r.run_id
        AND t.framework = r.framework
        AND t.minute = date_trunc('minute', r.started_at)
        AND r.started_at >= t.from_at
        AND r.started_at < t.to_at
    WHERE r.run_id IS NOT NULL AND r.framework IS NOT NULL AND r.step IS NULL
    UNION ALL
    SELECT
        r.call_id,
        r.started_at,
        r.ended_at,
        d.framework AS framework,
        r.run_id,
        CASE WHEN r.step IS NULL THEN t.step ELSE r.step END AS step,
        r.usage_endpoint,
        r.operation,
        r.outcome,
        r.status_code,
        r.input_tokens,
        r.cached_input_tokens,
        r.cache_write_tokens,
        r.output_tokens,
        r.reasoning_tokens,
        r.images,
        r.usage_source,
        CASE
            WHEN r.step IS NULL AND t.step IS NOT NULL
                AND (r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND)
                THEN list_append(coalesce(r.flags, []), 'border')
            ELSE r.flags
        END AS flags,
        r.file_id
    FROM readings AS r
    LEFT JOIN declared_runs AS d ON d.run_id = r.run_id
    LEFT JOIN time_labels AS t
        ON t.run_id = r.run_id
        AND t.framework = d.framework
        AND t.minute = date_trunc('minute', r.started_at)
        AND r.started_at >= t.from_at
        AND r.started_at < t.to_at
    WHERE r.run_id IS NOT NULL AND r.framework IS NULL
    UNION ALL
    SELECT
        r.call_id,
        r.started_at,
        r.ended_at,
        r.framework,
        t.run_id AS run_id,
        CASE WHEN t.run_id IS NULL THEN r.step ELSE t.step END AS step,
        r.usage_endpoint,
        r.operation,
        r.outcome,
        r.status_code,
        r.input_tokens,
        r.cached_input_tokens,
        r.cache_write_tokens,
        r.output_tokens,
        r.reasoning_tokens,
        r.images,
        r.usage_source,
        CASE
            WHEN r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND
                THEN list_append(coalesce(r.flags, []), 'border')
            ELSE r.flags
        END AS flags,
        r.file_id
    FROM readings AS r
    LEFT JOIN time_labels AS t
        ON t.framework = r.framework
        AND t.minute = date_trunc('minute', r.started_at)
        AND r.started_at >= t.from_at
        AND r.started_at < t.to_at
        AND t.sure
        AND r.step IS NULL
    WHERE r.run_id IS NULL
    UNION ALL
    SELECT
        o.call_id,
        o.started_at,
        NULL AS ended_at,
        CASE WHEN o.framework IS NULL THEN d.framework ELSE o.framework END AS framework,
        CASE WHEN o.run_id IS NULL THEN t.run_id ELSE o.run_id END AS run_id,
        CASE WHEN o.step IS NULL THEN t.step ELSE o.step END AS step,
        o.usage_endpoint,
        o.operation,
        'open' AS outcome,
        NULL AS status_code,
        NULL AS input_tokens,
        NULL AS cached_input_tokens,
        NULL AS cache_write_tokens,
        NULL AS output_tokens,
        NULL AS reasoning_tokens,
        NULL AS images,
        NULL AS usage_source,
        CASE
            WHEN (o.run_id IS NULL OR t.step IS NOT NULL)
                AND (o.started_at <= t.from_at + INTERVAL 1 SECOND OR o.started_at >= t.to_at - INTERVAL 1 SECOND)
                THEN list_append(coalesce(o.flags, []), 'border')
            ELSE o.flags
        END AS flags,
        o.file_id
    FROM open_calls AS o
    LEFT JOIN (
        SELECT run_id, framework
        FROM declared_runs
        WHERE run_id IN (SELECT unnamed.run_id FROM open_calls AS unnamed WHERE unnamed.framework IS NULL)
    ) AS d ON d.run_id = o.run_id AND o.framework IS NULL
    LEFT JOIN time_labels AS t
        ON t.framework = CASE WHEN o.framework IS NULL THEN d.framework ELSE o.framework END
        AND t.minute = date_trunc('minute', o.started_at)
        AND o.started_at >= t.from_at
        AND o.started_at < t.to_at
        AND o.step IS NULL
        AND CASE WHEN o.run_id IS NULL THEN t.sure ELSE t.run_id = o.run_id END
)
SELECT
    c.call_id,
    c.framework,
    c.run_id,
    c.step,
    c.started_at,
    CASE WHEN c.outcome = 'open' THEN coalesce(p.stopped_at, p.gone_at) ELSE c.ended_at END AS ended_at,
    CASE
        WHEN c.outcome = 'open' AND (p.stopped_at IS NOT NULL OR p.gone_at IS NOT NULL) THEN 'lost'
        ELSE c.outcome
    END AS outcome,
    c.operation,
    standing_of(
        c.operation,
        c.outcome,
        c.status_code,
        c.usage_endpoint,
        c.flags,
        t.flags,
        CASE WHEN t.call_id IS NULL THEN c.input_tokens ELSE t.input_tokens END,
        CASE WHEN t.call_id IS NULL THEN c.output_tokens ELSE t.output_tokens END,
        CASE WHEN t.call_id IS NULL THEN c.images ELSE t.images END
    ) AS standing,
    CASE WHEN t.call_id IS NULL THEN c.input_tokens ELSE t.input_tokens END AS input_tokens,
    CASE WHEN t.call_id IS NULL THEN c.cached_input_tokens ELSE t.cached_input_tokens END AS cached_input_tokens,
    CASE WHEN t.call_id IS NULL THEN c.cache_write_tokens ELSE t.cache_write_tokens END AS cache_write_tokens,
    CASE WHEN t.call_id IS NULL THEN c.output_tokens ELSE t.output_tokens END AS output_tokens,
    CASE WHEN t.call_id IS NULL THEN c.reasoning_tokens ELSE t.reasoning_tokens END AS reasoning_tokens,
    CASE WHEN t.call_id IS NULL THEN c.images ELSE t.images END AS images
FROM placed AS c
LEFT JOIN processes AS p ON p.file_id = c.file_id
LEFT JOIN told AS t
    ON t.call_id = c.call_id
    AND (
        t.source = 'reported'
        OR (c.usage_source IS NULL AND c.input_tokens IS NULL AND c.output_tokens IS NULL AND c.images IS NULL)
    );
