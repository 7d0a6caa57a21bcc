-- One row = one proxy and the time [from_at, to_at] in which it was up, by its own host's clock.
-- A proxy is up until its stop line; a live one until now; one that is gone until it was last seen; one of another
-- host until its last line; it may have been up until maybe_until, a day later, if it never said that it stopped.
-- Inner view of `mark_skews`.
CREATE OR REPLACE VIEW proxy_times AS
SELECT
    file_id,
    host,
    started_at AS from_at,
    CASE
        WHEN stopped_at IS NOT NULL THEN stopped_at
        WHEN gone_at IS NULL AND observed_at IS NOT NULL
            THEN make_timestamp(coalesce(getvariable('submeter_now_us'), epoch_us(now())))
        WHEN observed_at > last_line_at THEN observed_at
        ELSE last_line_at
    END AS to_at,
    CASE
        WHEN stopped_at IS NULL AND observed_at IS NULL THEN last_line_at + INTERVAL 1 DAY
    END AS maybe_until
FROM processes
WHERE upstream IS NOT NULL;
