-- One row = one process whose clock is known to be off: skew_us is what is added to its times to have the provider's,
-- the median of `Date` minus ours in steps of 30 s, so that no later call moves the minutes of an earlier one.
-- Inner view of the audit's.
CREATE OR REPLACE VIEW process_skews AS
SELECT
    file_id,
    -- A Date header is cut to whole seconds: half a second is what it loses in the mean.
    30000000 * CAST(
        round((median(epoch_us(server_date) - epoch_us(first_byte_at)) + 500000) / 30000000) AS BIGINT
    ) AS skew_us
FROM readings
WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
GROUP BY file_id;
