-- One row = one create without a run and one imported run that it could be of. The call began in the time of that run
-- and of another run of its framework, or after the last that is known of a run without an end: it is given to none.
-- step: the step it would be of in that run; NULL: none, or more than one. Creates that are `unbilled` are left out.
-- A run with a row here has no sums in `run_usage` and `step_usage`. Read by both, and by the audit.
CREATE OR REPLACE VIEW ambiguous_calls AS
SELECT
    c.call_id,
    c.started_at,
    c.framework,
    t.run_id,
    t.step
FROM time_labels AS t
JOIN (
    SELECT call_id, started_at, framework
    FROM readings
    WHERE run_id IS NULL AND step IS NULL AND operation = 'create' AND NOT is_unbilled(flags, outcome, status_code)
    UNION ALL
    SELECT call_id, started_at, framework
    FROM open_calls
    WHERE run_id IS NULL AND step IS NULL AND operation = 'create'
) AS c
    ON c.framework = t.framework
    AND date_trunc('minute', c.started_at) = t.minute
    AND c.started_at >= t.from_at
    AND c.started_at < t.to_at
WHERE NOT t.sure;
