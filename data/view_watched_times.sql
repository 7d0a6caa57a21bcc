-- One row = one stretch of time [from_at, to_at] in which at least one proxy of this ledger was up.
-- A proxy is up until its stop line; a live one until now; one that is gone until it was last seen; one of another
-- host until its last line. Inner view of `steps`.
CREATE OR REPLACE VIEW watched_times AS
WITH proxies AS (
    SELECT
        started_at AS from_at,
        CASE
            WHEN stopped_at IS NOT NULL THEN stopped_at
            WHEN gone_at IS NULL AND observed_at IS NOT NULL
                THEN make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
            WHEN observed_at > last_line_at THEN observed_at
            ELSE last_line_at
        END AS to_at
    FROM processes
    WHERE upstream IS NOT NULL
),
joined AS (
    SELECT
        from_at,
        to_at,
        from_at > max(to_at) OVER (
            ORDER BY from_at, to_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS apart
    FROM proxies
),
stretches AS (
    SELECT
        from_at,
        to_at,
        count(*) FILTER (apart) OVER (
            ORDER BY from_at, to_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS stretch
    FROM joined
)
SELECT min(from_at) AS from_at, max(to_at) AS to_at
FROM stretches
GROUP BY stretch;
