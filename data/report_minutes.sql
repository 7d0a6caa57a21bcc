-- Book and bill of one key, minute by minute ($api_key_id, $from_us, $to_us: microseconds UTC, whole minutes).
-- One row = one UTC minute in which either has something, or that the last good read of it showed. Tokens: of the book the
-- counted calls that ended in it by the provider's clock, of the bill what the last good read of each usage endpoint says,
-- batch left out. NULL: no good read holds the minute, or nobody told. A call may be billed a minute or so after it ended,
-- so that single minutes may differ where the sums do not: the audit judges, this shows. Read by `submeter report`.
WITH minutes AS (
    SELECT unnest(range(make_timestamp($from_us), make_timestamp($to_us), INTERVAL 1 MINUTE)) AS minute
),
reads AS (
    SELECT read_id, usage_endpoint, window_start, window_end, asked_at
    FROM usage_reads
    WHERE good
      AND len(api_key_ids) = 1
      AND api_key_ids[1] = $api_key_id
      AND window_start < make_timestamp($to_us)
      AND window_end > make_timestamp($from_us)
),
latest AS (
    SELECT m.minute, r.usage_endpoint, arg_max(r.read_id, (r.asked_at, r.read_id)) AS read_id
    FROM minutes AS m
    JOIN reads AS r ON m.minute >= r.window_start AND m.minute < r.window_end
    GROUP BY m.minute, r.usage_endpoint
),
billed AS (
    SELECT
        l.minute,
        CAST(sum(CASE WHEN b.read_id IS NULL THEN 0 ELSE b.input_tokens END) AS BIGINT) AS input_tokens,
        CAST(sum(CASE WHEN b.read_id IS NULL THEN 0 ELSE b.output_tokens END) AS BIGINT) AS output_tokens
    FROM latest AS l
    LEFT JOIN usage_buckets AS b
        ON b.read_id = l.read_id
        AND b.minute = l.minute
        AND b.api_key_id = $api_key_id
        AND b.batch IS NOT TRUE
    GROUP BY l.minute
),
booked AS (
    SELECT
        minute,
        CAST(sum(calls) AS BIGINT) AS calls,
        CAST(sum(unknown) AS BIGINT) AS unknown,
        CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
        CAST(sum(output_tokens) AS BIGINT) AS output_tokens
    FROM minute_usage
    WHERE api_key_id = $api_key_id
      AND minute >= make_timestamp($from_us)
      AND minute < make_timestamp($to_us)
    GROUP BY minute
)
SELECT
    m.minute,
    k.calls,
    k.unknown,
    k.input_tokens AS book_input_tokens,
    b.input_tokens AS bill_input_tokens,
    k.output_tokens AS book_output_tokens,
    b.output_tokens AS bill_output_tokens
FROM minutes AS m
LEFT JOIN booked AS k ON k.minute = m.minute
LEFT JOIN billed AS b ON b.minute = m.minute
WHERE k.minute IS NOT NULL OR b.minute IS NOT NULL
ORDER BY m.minute;
