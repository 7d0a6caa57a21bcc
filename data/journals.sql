-- Which processes wrote this ledger's journals, and what became of them.
-- One row = one journal. Times UTC; stopped_at and gone_at NULL: as far as known it is still there. carried_bytes: how
-- much of the journal is in the ledger. Read by people and `submeter doctor`.
SELECT
    p.file_id,
    p.host,
    p.pid,
    p.mode,
    p.version,
    p.upstream,
    p.started_at,
    p.last_line_at,
    p.observed_at,
    p.stopped_at,
    p.gone_at,
    max(i.end_offset) AS carried_bytes,
    CAST(sum(i.rows) AS BIGINT) AS readings
FROM processes AS p
LEFT JOIN ingest_log AS i ON i.file_id = p.file_id
GROUP BY ALL
ORDER BY p.started_at, p.file_id;
