-- What came in since a ledger's past was kept: one row = one run that a call, a mark or a verdict names (run_id NULL: all
-- that names none); first_us: the earliest instant that any of it tells of: the start of a call, also of one whose usage
-- was told later, a mark, or the begin of the minutes of a verdict or of a read. Microseconds UTC, by our clock; NULL: it
-- tells of none. Open calls are listed each time. $readings, $additions, $marks, $usage_reads and $audits BIGINT: how many
-- rows these tables had; $until_us BIGINT: open calls since before it are left out. Read by the audit.
WITH news AS (
    SELECT framework, run_id, started_at AS told_at
    FROM readings
    WHERE rowid >= $readings
    UNION ALL
    SELECT framework, run_id, started_at AS told_at
    FROM open_calls
    WHERE started_at >= make_timestamp($until_us)
    UNION ALL
    SELECT framework, run_id, started_at AS told_at
    FROM readings
    WHERE call_id IN (SELECT a.call_id FROM additions AS a WHERE a.rowid >= $additions)
    UNION ALL
    SELECT framework, run_id, started_at AS told_at
    FROM open_calls
    WHERE call_id IN (SELECT a.call_id FROM additions AS a WHERE a.rowid >= $additions)
    UNION ALL
    SELECT framework, run_id, marked_at AS told_at
    FROM marks
    WHERE rowid >= $marks
    UNION ALL
    SELECT framework, run_id, window_start AS told_at
    FROM audits
    WHERE rowid >= $audits AND run_id IS NOT NULL
    UNION ALL
    SELECT NULL AS framework, NULL AS run_id, window_start AS told_at
    FROM usage_reads
    WHERE rowid >= $usage_reads
)
SELECT framework, run_id, epoch_us(min(told_at)) AS first_us
FROM news
GROUP BY framework, run_id
ORDER BY framework, run_id;
