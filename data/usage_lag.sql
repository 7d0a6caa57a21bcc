-- How late the Usage API showed what it billed, from stored reads of the same minutes at different times.
-- One row = one age: whole minutes, rounded up, from the end of a billed minute to a read of it. looks: how many minutes
-- were looked at so long after their end; tokens: input and output that were seen at that age and not before, so an
-- age is an upper bound. Only minutes that were read twice, the last time an hour or more after their end: that read
-- says what was finally billed. Batch is left out. Read by `submeter doctor`, which advises by it.
WITH shown AS (
    SELECT
        read_id,
        usage_endpoint,
        api_key_id,
        minute,
        CAST(sum(list_sum([input_tokens, output_tokens])) AS BIGINT) AS tokens
    FROM usage_buckets
    WHERE batch IS DISTINCT FROM true
      AND usage_endpoint IN ('completions', 'embeddings')
    GROUP BY read_id, usage_endpoint, api_key_id, minute
),
billed AS (
    SELECT DISTINCT usage_endpoint, api_key_id, minute
    FROM shown
),
looks AS (
    SELECT
        b.usage_endpoint,
        b.api_key_id,
        b.minute,
        u.read_id,
        u.asked_at,
        CAST(ceil((epoch_us(u.asked_at) - epoch_us(b.minute)) / 60e6) AS BIGINT) - 1 AS age_min,
        CASE WHEN s.read_id IS NULL THEN 0 ELSE s.tokens END AS tokens
    FROM billed AS b
    JOIN usage_reads AS u
        ON u.good
        AND u.usage_endpoint = b.usage_endpoint
        AND list_contains(u.api_key_ids, b.api_key_id)
        AND u.window_start <= b.minute
        AND b.minute < u.window_end
    LEFT JOIN shown AS s
        ON s.read_id = u.read_id
        AND s.usage_endpoint = b.usage_endpoint
        AND s.api_key_id = b.api_key_id
        AND s.minute = b.minute
),
settled AS (
    SELECT
        usage_endpoint,
        api_key_id,
        minute,
        arg_max(tokens, (asked_at, read_id)) AS tokens
    FROM looks
    GROUP BY usage_endpoint, api_key_id, minute
    HAVING count(DISTINCT read_id) >= 2
       AND max(age_min) >= 60
),
known AS (
    SELECT
        l.usage_endpoint,
        l.api_key_id,
        l.minute,
        l.read_id,
        l.asked_at,
        l.age_min,
        max(least(l.tokens, f.tokens)) OVER (
            PARTITION BY l.usage_endpoint, l.api_key_id, l.minute
            ORDER BY l.asked_at, l.read_id
            ROWS UNBOUNDED PRECEDING
        ) AS tokens
    FROM looks AS l
    JOIN settled AS f
        ON f.usage_endpoint = l.usage_endpoint
        AND f.api_key_id = l.api_key_id
        AND f.minute = l.minute
),
risen AS (
    SELECT
        age_min,
        tokens - lag(tokens, 1, 0) OVER (
            PARTITION BY usage_endpoint, api_key_id, minute
            ORDER BY asked_at, read_id
        ) AS tokens
    FROM known
)
SELECT
    age_min,
    count(*) AS looks,
    CAST(sum(tokens) AS BIGINT) AS tokens
FROM risen
GROUP BY age_min
ORDER BY age_min;
