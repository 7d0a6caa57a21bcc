-- One row = one process whose clock is known: how far the provider's is from it. skew_us: microseconds to be added to
-- a time by the process's clock, in steps of 30 s: the (lower) median over its calls of `Date` minus our time of the
-- first byte. calls: how many of its calls told a `Date`. Read by the audit.
CREATE OR REPLACE VIEW process_skews AS
WITH counted AS (
    SELECT
        file_id,
        step,
        sum(calls) OVER (PARTITION BY file_id ORDER BY step ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS so_far,
        sum(calls) OVER (PARTITION BY file_id) AS calls
    FROM process_skew_steps
)
SELECT
    file_id,
    min(step) FILTER (2 * so_far >= calls) * 30000000 AS skew_us,
    CAST(any_value(calls) AS BIGINT) AS calls
FROM counted
GROUP BY file_id;
