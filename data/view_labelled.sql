-- One row = one call as its own line tells it, settled or still open, with the framework, run and step that it belongs
-- to. Inner view of `calls`; what sums need of it is in `standings` too.
-- Branch by branch, so that a filter on run_id or framework reaches the stored columns, and DuckDB passes over what it
-- knows to hold no NULL: calls that carry both; calls of a run whose framework only its marks tell; calls without a
-- run. Of the last, those without any label are labelled by time where a run of their framework was imported, and
-- flagged `border` within 1 s of its edges (its steps are told in whole seconds). Labelled calls are never moved.
-- Open calls are few, so that one branch takes them all.
CREATE OR REPLACE VIEW labelled AS
SELECT
    call_id,
    started_at,
    first_byte_at,
    ended_at,
    completed_at,
    server_date,
    framework,
    key_fingerprint,
    api_key_id,
    run_id,
    step,
    label_source,
    method,
    path,
    endpoint,
    usage_endpoint,
    operation,
    outcome,
    status_code,
    streamed,
    request_model,
    response_model,
    response_status,
    response_id,
    request_id,
    batch_id,
    service_tier,
    retry_count,
    input_tokens,
    cached_input_tokens,
    cache_write_tokens,
    output_tokens,
    reasoning_tokens,
    input_text_tokens,
    input_audio_tokens,
    input_image_tokens,
    output_text_tokens,
    output_audio_tokens,
    output_image_tokens,
    total_tokens,
    images,
    characters,
    seconds,
    usage,
    tool_usage,
    usage_source,
    flags,
    error,
    organization,
    project,
    upstream,
    request_bytes,
    response_bytes,
    overhead_us,
    file_id
FROM readings
WHERE run_id IS NOT NULL AND framework IS NOT NULL AND step IS NOT NULL
UNION ALL
SELECT
    r.call_id,
    r.started_at,
    r.first_byte_at,
    r.ended_at,
    r.completed_at,
    r.server_date,
    r.framework,
    r.key_fingerprint,
    r.api_key_id,
    r.run_id,
    t.step,
    CASE WHEN t.step IS NOT NULL THEN 'time' ELSE r.label_source END AS label_source,
    r.method,
    r.path,
    r.endpoint,
    r.usage_endpoint,
    r.operation,
    r.outcome,
    r.status_code,
    r.streamed,
    r.request_model,
    r.response_model,
    r.response_status,
    r.response_id,
    r.request_id,
    r.batch_id,
    r.service_tier,
    r.retry_count,
    r.input_tokens,
    r.cached_input_tokens,
    r.cache_write_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.input_text_tokens,
    r.input_audio_tokens,
    r.input_image_tokens,
    r.output_text_tokens,
    r.output_audio_tokens,
    r.output_image_tokens,
    r.total_tokens,
    r.images,
    r.characters,
    r.seconds,
    r.usage,
    r.tool_usage,
    r.usage_source,
    CASE
        WHEN t.step IS NOT NULL
            AND (r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND)
            THEN list_append(coalesce(r.flags, []), 'border')
        ELSE r.flags
    END AS flags,
    r.error,
    r.organization,
    r.project,
    r.upstream,
    r.request_bytes,
    r.response_bytes,
    r.overhead_us,
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
    r.first_byte_at,
    r.ended_at,
    r.completed_at,
    r.server_date,
    d.framework AS framework,
    r.key_fingerprint,
    r.api_key_id,
    r.run_id,
    CASE WHEN r.step IS NULL THEN t.step ELSE r.step END AS step,
    CASE WHEN r.step IS NULL AND t.step IS NOT NULL THEN 'time' ELSE r.label_source END AS label_source,
    r.method,
    r.path,
    r.endpoint,
    r.usage_endpoint,
    r.operation,
    r.outcome,
    r.status_code,
    r.streamed,
    r.request_model,
    r.response_model,
    r.response_status,
    r.response_id,
    r.request_id,
    r.batch_id,
    r.service_tier,
    r.retry_count,
    r.input_tokens,
    r.cached_input_tokens,
    r.cache_write_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.input_text_tokens,
    r.input_audio_tokens,
    r.input_image_tokens,
    r.output_text_tokens,
    r.output_audio_tokens,
    r.output_image_tokens,
    r.total_tokens,
    r.images,
    r.characters,
    r.seconds,
    r.usage,
    r.tool_usage,
    r.usage_source,
    CASE
        WHEN r.step IS NULL AND t.step IS NOT NULL
            AND (r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND)
            THEN list_append(coalesce(r.flags, []), 'border')
        ELSE r.flags
    END AS flags,
    r.error,
    r.organization,
    r.project,
    r.upstream,
    r.request_bytes,
    r.response_bytes,
    r.overhead_us,
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
    r.first_byte_at,
    r.ended_at,
    r.completed_at,
    r.server_date,
    r.framework,
    r.key_fingerprint,
    r.api_key_id,
    t.run_id AS run_id,
    CASE WHEN t.run_id IS NULL THEN r.step ELSE t.step END AS step,
    CASE WHEN t.run_id IS NULL THEN r.label_source ELSE 'time' END AS label_source,
    r.method,
    r.path,
    r.endpoint,
    r.usage_endpoint,
    r.operation,
    r.outcome,
    r.status_code,
    r.streamed,
    r.request_model,
    r.response_model,
    r.response_status,
    r.response_id,
    r.request_id,
    r.batch_id,
    r.service_tier,
    r.retry_count,
    r.input_tokens,
    r.cached_input_tokens,
    r.cache_write_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.input_text_tokens,
    r.input_audio_tokens,
    r.input_image_tokens,
    r.output_text_tokens,
    r.output_audio_tokens,
    r.output_image_tokens,
    r.total_tokens,
    r.images,
    r.characters,
    r.seconds,
    r.usage,
    r.tool_usage,
    r.usage_source,
    CASE
        WHEN r.started_at <= t.from_at + INTERVAL 1 SECOND OR r.started_at >= t.to_at - INTERVAL 1 SECOND
            THEN list_append(coalesce(r.flags, []), 'border')
        ELSE r.flags
    END AS flags,
    r.error,
    r.organization,
    r.project,
    r.upstream,
    r.request_bytes,
    r.response_bytes,
    r.overhead_us,
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
    NULL AS first_byte_at,
    NULL AS ended_at,
    NULL AS completed_at,
    NULL AS server_date,
    CASE WHEN o.framework IS NULL THEN d.framework ELSE o.framework END AS framework,
    o.key_fingerprint,
    o.api_key_id,
    CASE WHEN o.run_id IS NULL THEN t.run_id ELSE o.run_id END AS run_id,
    CASE WHEN o.step IS NULL THEN t.step ELSE o.step END AS step,
    CASE WHEN o.run_id IS NULL AND t.run_id IS NOT NULL OR t.step IS NOT NULL THEN 'time' ELSE o.label_source END
        AS label_source,
    o.method,
    o.path,
    o.endpoint,
    o.usage_endpoint,
    o.operation,
    'open' AS outcome,
    NULL AS status_code,
    NULL AS streamed,
    NULL AS request_model,
    NULL AS response_model,
    NULL AS response_status,
    NULL AS response_id,
    NULL AS request_id,
    NULL AS batch_id,
    NULL AS service_tier,
    o.retry_count,
    NULL AS input_tokens,
    NULL AS cached_input_tokens,
    NULL AS cache_write_tokens,
    NULL AS output_tokens,
    NULL AS reasoning_tokens,
    NULL AS input_text_tokens,
    NULL AS input_audio_tokens,
    NULL AS input_image_tokens,
    NULL AS output_text_tokens,
    NULL AS output_audio_tokens,
    NULL AS output_image_tokens,
    NULL AS total_tokens,
    NULL AS images,
    NULL AS characters,
    NULL AS seconds,
    NULL AS usage,
    NULL AS tool_usage,
    NULL AS usage_source,
    CASE
        WHEN (o.run_id IS NULL OR t.step IS NOT NULL)
            AND (o.started_at <= t.from_at + INTERVAL 1 SECOND OR o.started_at >= t.to_at - INTERVAL 1 SECOND)
            THEN list_append(coalesce(o.flags, []), 'border')
        ELSE o.flags
    END AS flags,
    NULL AS error,
    o.organization,
    o.project,
    o.upstream,
    NULL AS request_bytes,
    NULL AS response_bytes,
    NULL AS overhead_us,
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
    AND CASE WHEN o.run_id IS NULL THEN t.sure ELSE t.run_id = o.run_id END;
