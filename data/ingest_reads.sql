-- Reads of the Usage API into the ledger: one row = one staged `usage_read` line. A line that says good stands as its
-- pages were judged; one that says its own problem stands as it is. rows: bucket rows made. Run by ingest.
INSERT INTO usage_reads BY NAME
SELECT
    s.* REPLACE (
        coalesce(j.good, s.good) AS good,
        CASE WHEN j.good IS NULL THEN s.problem ELSE j.problem END AS problem,
        CASE WHEN j.good IS NULL THEN s.message ELSE j.message END AS message,
        CASE WHEN j.good IS NULL THEN s.holes ELSE j.holes END AS holes
    ),
    coalesce(j.rows, 0) AS rows
FROM staged_reads AS s
LEFT JOIN judged_reads AS j ON j.file_id = s.file_id AND j.line_offset = s.line_offset;
