-- One row = one call, as the audit counts it; api_key_id NULL: of a key without an id. Minutes by the provider's clock,
-- whole minutes since 1970-01-01 UTC. first_minute: the one before its start; end_minute: that of the latest of start,
-- ended_at and completed_at, which is the provider's own clock (chat tells only `created`, so that it may be long before
-- the end); ours is corrected by the process's skew. Counts are tokens (images: images) as reported.
-- open: it may still be billed and counted, at most 24 hours after its start, and ends now: it has not ended, or it is
-- background work whose usage nobody told yet. loose: its tokens may be billed in parts. any_model: what it may have used
-- is not told by its model: a hosted tool ran, or the endpoint is not known and no model was named. optional_class: of
-- amounts that may not be billed; `image_gen` of a counted call whose hosted image tool told tokens outside `usage`.
-- digest: of all that a verdict rests on; equal digests, equal calls.
-- Says what `calls` does (a test holds it to that), in one branch and without the columns no audit reads: to plan `calls`
-- cost more than a small audit's calls. Read by the audit, which keeps it for the length of one look.
CREATE OR REPLACE VIEW audited_calls AS
WITH told_lines AS (
    SELECT
        call_id,
        started_at,
        ended_at,
        completed_at,
        framework,
        key_fingerprint,
        api_key_id,
        run_id,
        step,
        endpoint,
        usage_endpoint,
        operation,
        outcome,
        status_code,
        request_model,
        response_model,
        usage_source,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        images,
        tool_usage,
        flags,
        file_id
    FROM readings
    UNION ALL
    SELECT
        call_id,
        started_at,
        NULL AS ended_at,
        NULL AS completed_at,
        framework,
        key_fingerprint,
        api_key_id,
        run_id,
        step,
        endpoint,
        usage_endpoint,
        operation,
        'open' AS outcome,
        NULL AS status_code,
        NULL AS request_model,
        NULL AS response_model,
        NULL AS usage_source,
        NULL AS input_tokens,
        NULL AS cached_input_tokens,
        NULL AS cache_write_tokens,
        NULL AS output_tokens,
        NULL AS images,
        NULL AS tool_usage,
        flags,
        file_id
    FROM open_calls
),
timed AS (
    SELECT
        c.call_id,
        CASE WHEN k.api_key_id IS NULL THEN c.api_key_id ELSE k.api_key_id END AS api_key_id,
        CASE WHEN c.framework IS NULL THEN d.framework ELSE c.framework END AS framework,
        CASE WHEN c.run_id IS NULL THEN l.run_id ELSE c.run_id END AS run_id,
        CASE WHEN c.step IS NULL THEN l.step ELSE c.step END AS step,
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
        c.operation,
        c.usage_endpoint,
        c.endpoint,
        c.request_model,
        CASE WHEN c.response_model IS NULL THEN t.response_model ELSE c.response_model END AS response_model,
        CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END AS skew_us,
        epoch_us(c.started_at) AS started_us,
        epoch_us(CASE WHEN c.outcome = 'open' THEN coalesce(p.stopped_at, p.gone_at) ELSE c.ended_at END) AS ended_us,
        epoch_us(CASE WHEN t.completed_at IS NULL THEN c.completed_at ELSE t.completed_at END) AS completed_us,
        c.tool_usage,
        list_concat(coalesce(c.flags, []), coalesce(t.flags, [])) AS flags,
        c.call_id IN (SELECT w.call_id FROM twins AS w) AS seen_twice,
        coalesce(getvariable('submeter_now_us'), epoch_us(now())) AS now_us,
        CASE WHEN t.call_id IS NULL THEN c.input_tokens ELSE t.input_tokens END AS input_tokens,
        CASE WHEN t.call_id IS NULL THEN c.cached_input_tokens ELSE t.cached_input_tokens END AS cached_input_tokens,
        CASE WHEN t.call_id IS NULL THEN c.cache_write_tokens ELSE t.cache_write_tokens END AS cache_write_tokens,
        CASE WHEN t.call_id IS NULL THEN c.output_tokens ELSE t.output_tokens END AS output_tokens,
        CASE WHEN t.call_id IS NULL THEN c.images ELSE t.images END AS images
    FROM told_lines AS c
    LEFT JOIN declared_runs AS d ON d.run_id = CASE WHEN c.framework IS NULL THEN c.run_id END
    -- Calls with a step have no minute here, so that they are set beside no stretch.
    LEFT JOIN time_labels AS l
        ON l.minute = CASE WHEN c.step IS NULL THEN date_trunc('minute', c.started_at) END
        AND l.framework = CASE WHEN c.framework IS NULL THEN d.framework ELSE c.framework END
        AND c.started_at >= l.from_at
        AND c.started_at < l.to_at
        AND CASE WHEN c.run_id IS NULL THEN l.sure ELSE l.run_id = c.run_id END
    LEFT JOIN processes AS p ON p.file_id = c.file_id
    LEFT JOIN (SELECT file_id, skew_us FROM process_skews WHERE skew_us <> 0) AS s ON s.file_id = c.file_id
    LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
    LEFT JOIN told AS t
        ON t.call_id = c.call_id
        AND (
            t.source = 'reported'
            OR (c.usage_source IS NULL AND c.input_tokens IS NULL AND c.output_tokens IS NULL AND c.images IS NULL)
        )
),
flagged AS (
    SELECT
        *,
        list_contains(flags, 'background') AS background,
        list_contains(flags, 'hosted_tool') AS hosted,
        list_contains(flags, 'hosted_tool')
        AND greatest(
            TRY_CAST(tool_usage ->> '$.image_gen.input_tokens' AS BIGINT),
            TRY_CAST(tool_usage ->> '$.image_gen.output_tokens' AS BIGINT)
        ) > 0 AS drew,
        list_contains(flags, 'unknown_endpoint') AS unknown_endpoint,
        list_contains(flags, 'warm_up') AS warm_up
    FROM timed
),
bounded AS (
    SELECT
        *,
        standing = 'unknown'
        AND (outcome = 'open' OR background)
        AND now_us < started_us + skew_us + 86400000000 AS open
    FROM flagged
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
    operation,
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
