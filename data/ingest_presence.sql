-- What a turn learned of processes that had not ended: when the last line of each was written, when it was last seen
-- alive (NULL: not this time, and the earlier time stands), when it stopped and since when it is known to be gone.
-- $processes: JSON text, a list of objects of file_id and the four times in microseconds UTC. Run by ingest.
UPDATE processes SET
    last_line_at = make_timestamp(w.told.last_line_at),
    stopped_at = make_timestamp(w.told.stopped_at),
    gone_at = make_timestamp(w.told.gone_at),
    observed_at = CASE
        WHEN w.told.observed_at IS NULL THEN processes.observed_at ELSE make_timestamp(w.told.observed_at)
    END
FROM (
    SELECT unnest(
        from_json(
            $processes,
            '[{"file_id": "VARCHAR", "last_line_at": "BIGINT", "observed_at": "BIGINT",
               "stopped_at": "BIGINT", "gone_at": "BIGINT"}]'
        )
    ) AS told
) AS w
WHERE w.told.file_id = processes.file_id;
