-- The creates of one key begun in a period, for a certificate to list them: one row = one call, oldest first, at most
-- $most. Times in microseconds UTC by our clock (completed_us: the provider's); skew_us: what is added to ours, the same
-- as in the minute book; ended_us: now, by the provider's clock, while nobody told an end (unended). Counts are tokens (images: images) as reported.
-- $api_key_id VARCHAR, $from_us and $to_us BIGINT by the provider's clock, $most BIGINT. Read by the audit.
WITH skews AS (
    SELECT
        file_id,
        30000000 * CAST(
            round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT
        ) AS skew_us
    FROM readings
    WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
    GROUP BY file_id
),
shifted AS (
    SELECT r.call_id, s.skew_us
    FROM skews AS s
    JOIN readings AS r ON r.file_id = s.file_id
    WHERE s.skew_us <> 0
    UNION ALL
    SELECT o.call_id, s.skew_us
    FROM skews AS s
    JOIN open_calls AS o ON o.file_id = s.file_id
    WHERE s.skew_us <> 0
)
SELECT
    c.call_id,
    c.framework,
    c.run_id,
    epoch_us(c.started_at) AS started_us,
    CASE
        WHEN c.outcome = 'open' OR c.ended_at IS NULL THEN coalesce(getvariable('submeter_now_us'), epoch_us(now()))
        ELSE epoch_us(c.ended_at)
    END AS ended_us,
    c.outcome = 'open' OR c.ended_at IS NULL AS unended,
    epoch_us(c.completed_at) AS completed_us,
    CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END AS skew_us,
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
LEFT JOIN shifted AS s ON s.call_id = c.call_id
WHERE c.operation = 'create'
  AND coalesce(k.api_key_id, c.api_key_id) = $api_key_id
  AND epoch_us(c.started_at) + CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END >= $from_us
  AND epoch_us(c.started_at) + CASE WHEN s.skew_us IS NULL THEN 0 ELSE s.skew_us END < $to_us
ORDER BY c.started_at, c.call_id
LIMIT $most;
