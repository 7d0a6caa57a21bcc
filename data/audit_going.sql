-- Whether a call still goes on, or waits for its usage to be told: one row, how many do. Read by the audit, after it has
-- laid out the calls: where none does, no call changes by time alone.
SELECT count(*) AS going
FROM audited_calls
WHERE open OR outcome = 'open'
ORDER BY going;
