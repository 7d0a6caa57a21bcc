-- The latest verdict on each part, and what the ledger now holds of the calls it rests on: one row = one run (run_id
-- NULL: a period), key id and window begin. Times in microseconds UTC, minutes since 1970-01-01 UTC. rests_on: what it
-- rested on, as JSON; calls_now: how many creates of the key now begin between the chain's begin and the minute to which
-- it was known then, and a digest of them. final_*: the latest final one of the same part.
-- joint: the runs that its error reaches, by name, as JSON; a verdict that agrees has none. $since_us BIGINT: of windows
-- that begin later. Read by the audit.
WITH said AS (
    SELECT
        framework,
        run_id,
        api_key_id,
        window_start,
        arg_max(
            {
                'audit_id': audit_id,
                'audited_us': epoch_us(audited_at),
                'window_end_us': epoch_us(window_end),
                'verdict': verdict,
                'reason': reason,
                'final': final,
                'timing': timing,
                'proof': proof,
                'joint': CASE WHEN verdict NOT IN ('verified', 'no_activity') THEN CAST(detail -> '$.joint' AS VARCHAR) END,
                'rests_on': rests_on,
                'next_read_us': epoch_us(next_read_at)
            },
            (audited_at, "at", file_id, line_offset)
        ) AS last,
        max(audited_at) FILTER (final) AS final_at,
        count(*) AS attempts
    FROM audits
    WHERE scope = 'part' AND api_key_id IS NOT NULL AND window_start IS NOT NULL AND window_end > window_start
      AND window_start >= make_timestamp($since_us)
    GROUP BY framework, run_id, api_key_id, window_start
),
rested AS (
    SELECT
        framework,
        run_id,
        api_key_id,
        window_start,
        last,
        final_at,
        attempts,
        CAST(last.rests_on ->> 'from' AS BIGINT) AS from_minute,
        CAST(last.rests_on ->> 'until' AS BIGINT) AS until_minute
    FROM said
),
by_minute AS (
    SELECT
        api_key_id,
        first_minute,
        count(*) AS calls,
        bit_xor(digest) AS digest
    FROM audit_creates
    WHERE api_key_id IS NOT NULL
    GROUP BY api_key_id, first_minute
),
so_far AS (
    SELECT
        api_key_id,
        first_minute,
        sum(calls) OVER before_it AS calls,
        bit_xor(digest) OVER before_it AS digest
    FROM by_minute
    WINDOW before_it AS (
        PARTITION BY api_key_id ORDER BY first_minute ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)
SELECT
    r.framework,
    r.run_id,
    r.api_key_id,
    epoch_us(r.window_start) AS window_start_us,
    r.last.window_end_us AS window_end_us,
    r.last.audit_id AS audit_id,
    r.last.audited_us AS audited_us,
    r.last.verdict AS verdict,
    r.last.reason AS reason,
    r.last.final AS final,
    r.last.timing AS timing,
    r.last.proof AS proof,
    r.last.joint AS joint,
    CAST(r.last.rests_on AS VARCHAR) AS rests_on,
    r.last.next_read_us AS next_read_us,
    epoch_us(r.final_at) AS final_us,
    r.attempts,
    coalesce(CAST(u.calls AS BIGINT), 0) - coalesce(CAST(f.calls AS BIGINT), 0) AS calls_now,
    CAST(xor(coalesce(u.digest, 0), coalesce(f.digest, 0)) AS VARCHAR) AS digest_now
FROM rested AS r
ASOF LEFT JOIN so_far AS f ON f.api_key_id = r.api_key_id AND f.first_minute < r.from_minute
ASOF LEFT JOIN so_far AS u ON u.api_key_id = r.api_key_id AND u.first_minute < r.until_minute
ORDER BY r.api_key_id, window_start_us, r.framework, r.run_id;
