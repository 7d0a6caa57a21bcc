-- The minute book: what the calls of some keys used, summed over calls that are active in the same minutes.
-- One row = creates of one key alike in first and last active minute, standing, usage endpoint and model; minutes are
-- whole minutes since 1970-01-01 UTC; sums are tokens (images: images) of counted calls, NULL for all others.
-- A call is active from the minute before its start to 1 + $shift_min minutes after its end: the later of the
-- provider's completed_at (often only `created`) and the last byte; open: now; background work whose end nobody told:
-- an hour more. Our times are corrected by the skew of their process: the median of the provider's Date minus ours,
-- in steps of 30 s, so that no later call moves the minutes of an earlier one; the margins cover what is left.
-- With $apart, calls are summed only where their counts are equal too, so that a row is so many equal calls.
-- $api_key_ids VARCHAR[], $shift_min INTEGER, $apart BOOLEAN, $from_us and $to_us BIGINT: calls begun in that time.
-- Read by the audit.
WITH skews AS (
    SELECT
        file_id,
        -- A Date header is cut to whole seconds: half a second is what it loses in the mean.
        to_seconds(
            30 * CAST(round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT)
        ) AS skew
    FROM readings
    WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
    GROUP BY file_id
),
shifted AS (
    -- Few processes, if any, have a skew: nearly always nothing is joined.
    SELECT r.call_id, s.skew
    FROM skews AS s
    JOIN readings AS r ON r.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
    UNION ALL
    SELECT o.call_id, s.skew
    FROM skews AS s
    JOIN open_calls AS o ON o.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
),
creates AS (
    SELECT
        c.call_id,
        coalesce(k.api_key_id, c.api_key_id) AS api_key_id,
        c.started_at,
        c.ended_at,
        c.completed_at,
        c.outcome = 'open' AS open,
        c.standing,
        c.usage_endpoint,
        c.endpoint,
        coalesce(c.response_model, c.request_model) AS model,
        list_contains(c.flags, 'background') AS background,
        list_contains(c.flags, 'hosted_tool') AS hosted_tool,
        list_contains(c.flags, 'unknown_endpoint') AS unknown_endpoint,
        c.input_tokens,
        c.cached_input_tokens,
        c.cache_write_tokens,
        c.output_tokens,
        c.images
    FROM calls AS c
    LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
    WHERE c.operation = 'create' AND list_contains($api_key_ids, coalesce(k.api_key_id, c.api_key_id))
),
timed AS (
    SELECT
        c.*,
        epoch_us(c.started_at + coalesce(s.skew, INTERVAL 0 SECOND)) AS begin_us,
        CASE
            WHEN c.open OR c.ended_at IS NULL THEN coalesce(getvariable('submeter_now_us'), epoch_us(now()))
            ELSE epoch_us(
                greatest(
                    c.started_at + coalesce(s.skew, INTERVAL 0 SECOND),
                    c.ended_at + coalesce(s.skew, INTERVAL 0 SECOND),
                    c.completed_at
                )
            ) + CASE WHEN c.background AND c.standing = 'unknown' THEN 3600000000 ELSE 0 END
        END AS end_us
    FROM creates AS c
    LEFT JOIN shifted AS s ON s.call_id = c.call_id
)
SELECT
    api_key_id,
    begin_us // 60000000 - 1 AS first_minute,
    greatest(begin_us, end_us) // 60000000 + 1 + $shift_min AS last_minute,
    standing,
    usage_endpoint,
    CASE WHEN standing <> 'counted' THEN endpoint END AS endpoint,
    model,
    open,
    background OR hosted_tool OR coalesce(starts_with(endpoint, 'realtime'), false) AS loose,
    hosted_tool OR unknown_endpoint AS any_model,
    count(*) AS calls,
    sum(input_tokens) FILTER (standing = 'counted') AS input_tokens,
    sum(cached_input_tokens) FILTER (standing = 'counted') AS cached_input_tokens,
    count(*) FILTER (standing = 'counted' AND cached_input_tokens IS NULL) AS cached_silent,
    sum(cache_write_tokens) FILTER (standing = 'counted') AS cache_write_tokens,
    sum(output_tokens) FILTER (standing = 'counted') AS output_tokens,
    sum(images) FILTER (standing = 'counted') AS images,
    CASE WHEN $apart THEN [input_tokens, cached_input_tokens, output_tokens, images] END AS alike
FROM timed
WHERE begin_us >= $from_us AND begin_us < $to_us
GROUP BY ALL
ORDER BY ALL;
