-- One row = one HTTP attempt, or one model response on a WebSocket. Times are UTC; counts as the provider reported
-- them, NULL where it said nothing; usage and tool_usage are its own JSON; overhead_us is what submeter itself took.
-- outcome: what happened on the wire. standing: what a create means for sums (NULL for reads); only `counted` is
-- summed (`standing_of`). An open call whose process has ended is `lost`; it ended no later than that process was known to be gone.
-- A call that was answered later (background, batch) has the usage of the first terminal read that told it.
-- api_key_id is the latest id known for the call's key, whatever was configured when the call was made.
-- Read by people, by every view below, and by the audit.
CREATE OR REPLACE VIEW calls AS
SELECT
    c.call_id,
    c.started_at,
    c.first_byte_at,
    CASE WHEN c.outcome = 'open' THEN coalesce(p.stopped_at, p.gone_at) ELSE c.ended_at END AS ended_at,
    CASE WHEN t.completed_at IS NULL THEN c.completed_at ELSE t.completed_at END AS completed_at,
    c.server_date,
    p.host,
    c.framework,
    c.key_fingerprint,
    CASE WHEN k.api_key_id IS NULL THEN c.api_key_id ELSE k.api_key_id END AS api_key_id,
    c.run_id,
    c.step,
    c.label_source,
    c.method,
    c.path,
    c.endpoint,
    c.usage_endpoint,
    c.operation,
    CASE
        WHEN c.outcome = 'open' AND (p.stopped_at IS NOT NULL OR p.gone_at IS NOT NULL) THEN 'lost'
        ELSE c.outcome
    END AS outcome,
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
    c.status_code,
    c.streamed,
    c.request_model,
    CASE WHEN c.response_model IS NULL THEN t.response_model ELSE c.response_model END AS response_model,
    CASE WHEN t.response_status IS NULL THEN c.response_status ELSE t.response_status END AS response_status,
    CASE WHEN t.source = 'reported' THEN t.response_id ELSE c.response_id END AS response_id,
    c.request_id,
    c.batch_id,
    CASE WHEN t.service_tier IS NULL THEN c.service_tier ELSE t.service_tier END AS service_tier,
    c.retry_count,
    CASE WHEN t.call_id IS NULL THEN c.input_tokens ELSE t.input_tokens END AS input_tokens,
    CASE WHEN t.call_id IS NULL THEN c.cached_input_tokens ELSE t.cached_input_tokens END AS cached_input_tokens,
    CASE WHEN t.call_id IS NULL THEN c.cache_write_tokens ELSE t.cache_write_tokens END AS cache_write_tokens,
    CASE WHEN t.call_id IS NULL THEN c.output_tokens ELSE t.output_tokens END AS output_tokens,
    CASE WHEN t.call_id IS NULL THEN c.reasoning_tokens ELSE t.reasoning_tokens END AS reasoning_tokens,
    CASE WHEN t.call_id IS NULL THEN c.input_text_tokens ELSE t.input_text_tokens END AS input_text_tokens,
    CASE WHEN t.call_id IS NULL THEN c.input_audio_tokens ELSE t.input_audio_tokens END AS input_audio_tokens,
    CASE WHEN t.call_id IS NULL THEN c.input_image_tokens ELSE t.input_image_tokens END AS input_image_tokens,
    CASE WHEN t.call_id IS NULL THEN c.output_text_tokens ELSE t.output_text_tokens END AS output_text_tokens,
    CASE WHEN t.call_id IS NULL THEN c.output_audio_tokens ELSE t.output_audio_tokens END AS output_audio_tokens,
    CASE WHEN t.call_id IS NULL THEN c.output_image_tokens ELSE t.output_image_tokens END AS output_image_tokens,
    CASE WHEN t.call_id IS NULL THEN c.total_tokens ELSE t.total_tokens END AS total_tokens,
    CASE WHEN t.call_id IS NULL THEN c.images ELSE t.images END AS images,
    CASE WHEN t.call_id IS NULL THEN c.characters ELSE t.characters END AS characters,
    CASE WHEN t.call_id IS NULL THEN c.seconds ELSE t.seconds END AS seconds,
    CASE WHEN t.call_id IS NULL THEN c.usage ELSE t.usage END AS usage,
    c.tool_usage,
    CASE WHEN t.call_id IS NULL THEN c.usage_source ELSE t.source END AS usage_source,
    list_concat(
        coalesce(c.flags, []),
        coalesce(t.flags, []),
        CASE WHEN c.call_id IN (SELECT w.call_id FROM twins AS w) THEN ['seen_twice'] ELSE [] END
    ) AS flags,
    c.error,
    c.organization,
    c.project,
    c.upstream,
    c.request_bytes,
    c.response_bytes,
    c.overhead_us
FROM labelled AS c
LEFT JOIN processes AS p ON p.file_id = c.file_id
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
LEFT JOIN told AS t
    ON t.call_id = c.call_id
    AND (
        t.source = 'reported'
        OR (c.usage_source IS NULL AND c.input_tokens IS NULL AND c.output_tokens IS NULL AND c.images IS NULL)
    );
