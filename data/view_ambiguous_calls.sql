-- One row = one create without a run and one imported run that it could be of. The call began in the time of that run
-- and of another run of its framework, or after the last that is known of a run without an end: it is given to none.
-- step: the step it would be of in that run; NULL: none, or more than one. Creates that are `unbilled` are left out.
-- A run with a row here has no sums in `run_usage` and `step_usage`. Read by both, and by the audit.
CREATE OR REPLACE VIEW ambiguous_calls AS
SELECT
    r.call_id,
    r.started_at,
    r.framework,
    t.run_id,
    t.step
FROM readings AS r
JOIN time_labels AS t
    ON t.framework = r.framework
    AND t.minute = date_trunc('minute', r.started_at)
    AND r.started_at >= t.from_at
    AND r.started_at < t.to_at
WHERE r.run_id IS NULL
  AND r.step IS NULL
  AND NOT t.sure
  AND standing_of(
      r.operation,
      r.outcome,
      r.status_code,
      r.usage_endpoint,
      r.flags,
      NULL,
      r.input_tokens,
      r.output_tokens,
      r.images
  ) <> 'unbilled'
UNION ALL
SELECT
    o.call_id,
    o.started_at,
    o.framework,
    t.run_id,
    t.step
FROM open_calls AS o
JOIN time_labels AS t
    ON t.framework = o.framework
    AND t.minute = date_trunc('minute', o.started_at)
    AND o.started_at >= t.from_at
    AND o.started_at < t.to_at
WHERE o.run_id IS NULL AND o.step IS NULL AND o.operation = 'create' AND NOT t.sure;
