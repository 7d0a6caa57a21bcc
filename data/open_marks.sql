-- The run and step marks of the last 24 hours that were made while they happened (imported ones are not), in order.
-- One row = one mark. Times are microseconds UTC. Read by a proxy as it starts, to go on labelling open runs.
SELECT
    kind,
    framework,
    run_id,
    step,
    edge,
    status,
    marked_by,
    epoch_us(marked_at) AS marked_at_us
FROM marks
WHERE marked_by <> 'metrics'
  AND epoch_us(marked_at) >= coalesce(getvariable('submeter_now_us'), epoch_us(now())) - 86400000000
ORDER BY marked_at, file_id, line_offset;
