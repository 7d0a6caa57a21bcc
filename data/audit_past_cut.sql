-- Whether calls keep clear of an instant: one row; crossing: how many begin on one side of it and are active on the other,
-- or go on since before it; unlabelled: creates without a run before it. $until_us BIGINT, the instant, and
-- $until_minute BIGINT, the same as a minute since 1970-01-01 UTC; $shift_min INTEGER. Read by the audit, after it has
-- laid out the calls.
SELECT
    count(*) FILTER (
        CASE
            WHEN started_us < $until_us
                THEN first_minute >= $until_minute
                OR end_minute + 1 + $shift_min >= $until_minute
                OR open
                OR outcome = 'open'
            ELSE first_minute <= $until_minute
        END
    ) AS crossing,
    count(*) FILTER (started_us < $until_us AND operation = 'create' AND run_id IS NULL) AS unlabelled
FROM audited_calls
ORDER BY crossing, unlabelled;
