-- The counted calls of one key that were begun in a period, for an explanation to point at: one row = one call, oldest
-- first, at most $most. started_us: microseconds UTC; counts are tokens (images: images) as reported.
-- $api_key_id VARCHAR, $from_us, $to_us and $most BIGINT. Read by `submeter explain`.
-- The period is by the provider's clock: ours, corrected as in the minute book.
WITH skews AS (
    SELECT
        file_id,
        to_seconds(
            30 * CAST(round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT)
        ) AS skew
    FROM readings
    WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
    GROUP BY file_id
),
shifted AS (
    SELECT r.call_id, s.skew
    FROM skews AS s
    JOIN readings AS r ON r.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
    UNION ALL
    SELECT o.call_id, s.skew
    FROM skews AS s
    JOIN open_calls AS o ON o.file_id = s.file_id
    WHERE s.skew <> INTERVAL 0 SECOND
)
SELECT
    c.call_id,
    epoch_us(c.started_at) AS started_us,
    c.framework,
    c.run_id,
    c.step,
    c.usage_endpoint,
    coalesce(c.response_model, c.request_model) AS model,
    c.input_tokens,
    c.cached_input_tokens,
    c.output_tokens,
    c.images,
    list_contains(c.flags, 'seen_twice') AS seen_twice
FROM calls AS c
LEFT JOIN known_keys AS k ON k.key_fingerprint = c.key_fingerprint
LEFT JOIN shifted AS s ON s.call_id = c.call_id
WHERE c.standing = 'counted'
  AND coalesce(k.api_key_id, c.api_key_id) = $api_key_id
  AND c.started_at + coalesce(s.skew, INTERVAL 0 SECOND) >= make_timestamp($from_us)
  AND c.started_at + coalesce(s.skew, INTERVAL 0 SECOND) < make_timestamp($to_us)
ORDER BY c.started_at, c.call_id
LIMIT $most;
