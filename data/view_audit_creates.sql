-- One row = one create, as the audit counts it; api_key_id NULL: of a key without an id. Minutes by the provider's clock,
-- whole minutes since 1970-01-01 UTC. first_minute: the one before its start; end_minute: that of the latest of start,
-- ended_at and completed_at, which is the provider's own clock (chat tells only `created`, so that it may be long before
-- the end); ours is corrected by the process's skew. Counts are tokens (images: images) as reported.
-- open: it may still be billed and counted, at most 24 hours after its start, and ends now: it has not ended, or it is
-- background work whose usage nobody told yet. loose: its tokens may be billed in parts. any_model: what it may have used
-- is not told by its model: a hosted tool ran, or the endpoint is not known and no model was named. optional_class: of
-- amounts that may not be billed; `image_gen` of a counted call whose hosted image tool told tokens outside `usage`.
-- digest: of all that a verdict rests on; equal digests, equal calls. Read by the audit, which keeps it for the length of
-- one look.
CREATE OR REPLACE VIEW audit_creates AS
WITH shifted AS (
    -- Few processes, if any, have a skew: nearly always nothing is joined.
    SELECT r.call_id, s.skew_us
    FROM process_skews AS s
    JOIN readings AS r ON r.file_id = s.file_id
    WHERE s.skew_us <> 0
    UNION ALL
    SELECT o.call_id, s.skew_us
    FROM process_skews AS s
    JOIN open_calls AS o ON o.file_id = s.file_id
    WHERE s.skew_us <> 0
),
timed AS (
    SELECT
        c.call_id,
        c.api_key_id,
        c.framework,
        c.run_id,
        c.step,
        c.outcome,
        c.standing,
        c.usage_endpoint,
        c.endpoint,
        c.request_model,
        c.response_model,
        CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END AS skew_us,
        epoch_us(c.started_at) AS started_us,
        epoch_us(c.ended_at) AS ended_us,
        epoch_us(c.completed_at) AS completed_us,
        list_contains(c.flags, 'background') AS background,
        list_contains(c.flags, 'hosted_tool') AS hosted,
        list_contains(c.flags, 'hosted_tool')
        AND greatest(
            TRY_CAST(c.tool_usage ->> '$.image_gen.input_tokens' AS BIGINT),
            TRY_CAST(c.tool_usage ->> '$.image_gen.output_tokens' AS BIGINT)
        ) > 0 AS drew,
        list_contains(c.flags, 'unknown_endpoint') AS unknown_endpoint,
        list_contains(c.flags, 'warm_up') AS warm_up,
        list_contains(c.flags, 'seen_twice') AS seen_twice,
        coalesce(getvariable('submeter_now_us'), epoch_us(now())) AS now_us,
        c.input_tokens,
        c.cached_input_tokens,
        c.cache_write_tokens,
        c.output_tokens,
        c.images
    FROM calls AS c
    LEFT JOIN shifted AS s ON s.call_id = c.call_id
    WHERE c.operation = 'create'
),
bounded AS (
    SELECT
        *,
        standing = 'unknown'
        AND (outcome = 'open' OR background)
        AND now_us < started_us + skew_us + 86400000000 AS open
    FROM timed
),
ended AS (
    SELECT
        *,
        CASE
            WHEN open THEN greatest(started_us + skew_us, now_us)
            WHEN standing = 'unknown' AND (outcome = 'open' OR background) THEN started_us + skew_us + 86400000000
            ELSE greatest(started_us + skew_us, ended_us + skew_us, completed_us)
        END AS end_us
    FROM bounded
)
SELECT
    call_id,
    api_key_id,
    framework,
    run_id,
    step,
    outcome,
    standing,
    usage_endpoint,
    endpoint,
    request_model,
    response_model,
    skew_us,
    started_us,
    ended_us,
    completed_us,
    (started_us + skew_us) // 60000000 - 1 AS first_minute,
    end_us // 60000000 AS end_minute,
    open,
    background,
    background OR hosted OR coalesce(starts_with(endpoint, 'realtime'), false) AS loose,
    hosted,
    hosted OR (unknown_endpoint AND response_model IS NULL AND request_model IS NULL) AS any_model,
    CASE
        WHEN standing = 'optional' AND warm_up THEN 'warm_up'
        WHEN standing = 'optional' THEN 'optional'
        WHEN standing = 'counted' AND drew THEN 'image_gen'
    END AS optional_class,
    seen_twice,
    input_tokens,
    cached_input_tokens,
    cache_write_tokens,
    output_tokens,
    images,
    xor(hash(
        call_id, framework, run_id, CASE WHEN NOT open THEN end_us // 60000000 END, standing, usage_endpoint, endpoint,
        response_model, request_model, background, hosted, input_tokens, cached_input_tokens, output_tokens, images
    ), CASE WHEN standing = 'counted' AND drew THEN hash('image_gen') ELSE 0 END) AS digest
FROM ended;
