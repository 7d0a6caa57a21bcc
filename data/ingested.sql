-- How far each journal has been carried into this ledger. One row = one journal; end_offset in bytes from its start;
-- ingested_at: when the last stretch of it came in, UTC. Read by `submeter doctor`.
SELECT
    file_id,
    max(end_offset) AS end_offset,
    max("at") AS ingested_at
FROM ingest_log
GROUP BY file_id
ORDER BY file_id;
