-- One row = one HTTP attempt, or one model response on a WebSocket. Times are UTC; counts as the provider reported
-- them, NULL where it said nothing; usage and tool_usage are its own JSON; overhead_us is what submeter itself took.
-- outcome: what happened on the wire. standing: what a create means for sums (NULL for reads); only `counted` is
-- summed. Read by people, by every view below, and by the audit.
CREATE OR REPLACE VIEW calls AS
SELECT
    call_id,
    started_at,
    first_byte_at,
    ended_at,
    completed_at,
    server_date,
    host,
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
    CASE
        WHEN operation <> 'create' THEN NULL
        WHEN list_contains(flags, 'never_sent') THEN 'unbilled'
        WHEN outcome = 'refused' AND (status_code IS NULL OR status_code NOT IN (408, 409)) THEN 'unbilled'
        WHEN list_contains(flags, 'unknown_endpoint') THEN 'unknown'
        WHEN usage_endpoint IS NULL OR usage_endpoint NOT IN ('completions', 'embeddings', 'images') THEN 'uncovered'
        WHEN list_has_any(flags, ['cached_over_input', 'count_negative', 'count_absurd', 'count_malformed'])
            THEN 'unknown'
        WHEN usage_endpoint = 'completions' AND input_tokens IS NOT NULL AND output_tokens IS NOT NULL THEN 'counted'
        WHEN usage_endpoint = 'embeddings' AND input_tokens IS NOT NULL THEN 'counted'
        WHEN usage_endpoint = 'images' AND images IS NOT NULL THEN 'counted'
        ELSE 'unknown'
    END AS standing,
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
    overhead_us
FROM labelled;
