-- One row = one stretch of time [from_at, to_at] in which at least one proxy of this ledger was up.
-- Inner view of `steps`.
CREATE OR REPLACE VIEW watched_times AS
WITH joined AS (
    SELECT
        from_at,
        to_at,
        from_at > max(to_at) OVER (
            ORDER BY from_at, to_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS apart
    FROM proxy_times
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
