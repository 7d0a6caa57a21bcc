-- Notes what a read told of a create that told nothing itself (background responses, batches, streams that broke off):
-- one row in `additions` for each such pair, whichever of the two came in last. Run by ingest alone, after this turn's
-- readings are in; which hosts, proxies and turns the two came from makes no difference.
-- Matched by the provider's id, which the read also names in its path: a list, or a server whose ids are all alike,
-- tells nothing. Runs of the Assistants API (shut down 2026-08-26) keep each answer's own word. 35 days: responses are kept for 30, batches run for one.
INSERT INTO additions BY NAME
WITH fresh AS (
    SELECT call_id, response_id, started_at
    FROM staged_calls
    WHERE kind = 'settle' AND response_id <> ''
),
creates AS (
    SELECT call_id, response_id, upstream, started_at
    FROM readings
    WHERE operation = 'create'
      AND response_id IN (SELECT f.response_id FROM fresh AS f)
      AND usage_source IS NULL
      AND input_tokens IS NULL
      AND output_tokens IS NULL
      AND (endpoint IS NULL OR NOT starts_with(endpoint, 'threads'))
      AND started_at >= (SELECT min(f.started_at) - INTERVAL 35 DAY FROM fresh AS f)
),
reads AS (
    SELECT
        call_id,
        response_id,
        upstream,
        started_at,
        usage,
        completed_at,
        response_status,
        response_model,
        service_tier,
        flags,
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
        file_id,
        line_offset,
        "at"
    FROM readings
    WHERE operation = 'read'
      AND response_id IN (SELECT f.response_id FROM fresh AS f)
      AND usage_source IS NOT NULL
      AND contains(path, response_id)
      AND started_at >= (SELECT min(f.started_at) - INTERVAL 1 HOUR FROM fresh AS f)
)
SELECT
    c.call_id,
    r.response_id,
    CASE WHEN list_contains(r.flags, 'receipt') THEN 'receipt' ELSE 'read' END AS source,
    r.usage,
    r.completed_at,
    r.response_status,
    r.response_model,
    r.service_tier,
    list_intersect(r.flags, [
        'cached_over_input', 'count_negative', 'count_absurd', 'count_malformed', 'usage_contradicts',
        'zero_after_error', 'usage_malformed', 'usage_too_large', 'hosted_tool'
    ]) AS flags,
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
    r.file_id,
    r.line_offset,
    r."at"
FROM creates AS c
INNER JOIN reads AS r
    ON r.response_id = c.response_id
    AND r.upstream = c.upstream
    AND r.started_at BETWEEN c.started_at - INTERVAL 1 HOUR AND c.started_at + INTERVAL 35 DAY
WHERE c.call_id IN (SELECT f.call_id FROM fresh AS f) OR r.call_id IN (SELECT f.call_id FROM fresh AS f)
ORDER BY c.call_id, r.file_id, r.line_offset;
