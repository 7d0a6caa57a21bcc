-- How far a turn carried each journal: one row = one journal, the byte offset behind its last carried line, and how many
-- readings the turn made of it. $log: JSON text, a list of objects of file_id, end_offset and rows; $now_us: microseconds
-- UTC. Run by ingest.
INSERT INTO ingest_log BY NAME
SELECT
    told.file_id,
    told.end_offset,
    told.rows,
    make_timestamp($now_us) AS "at"
FROM (
    SELECT unnest(from_json($log, '[{"file_id": "VARCHAR", "end_offset": "BIGINT", "rows": "BIGINT"}]')) AS told
) AS listed;
