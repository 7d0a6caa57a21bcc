-- Whether a ledger is what it was: one row, how many facts there are and digests of them. A fact is how far a journal is
-- carried, or that a process has ended or is not seen any more; every row of every other table was made of lines that
-- are carried. Equal digests: whatever is asked of calls, marks, reads and verdicts has the same answer, but for what
-- time alone changes. but_one: the same without one journal. $but_file: its file_id; NULL: none. Read by the audit,
-- before it looks.
WITH facts AS (
    SELECT file_id, hash('carried', file_id, max(end_offset)) AS digest
    FROM ingest_log
    GROUP BY file_id
    UNION ALL
    SELECT file_id, hash('process', file_id, stopped_at, gone_at, observed_at IS NULL) AS digest
    FROM processes
)
SELECT
    count(*) AS facts,
    CAST(bit_xor(digest) AS VARCHAR) AS digest,
    CAST(sum(digest) AS VARCHAR) AS total,
    CAST(bit_xor(digest) FILTER (file_id IS DISTINCT FROM $but_file) AS VARCHAR) AS but_one
FROM facts
ORDER BY facts, digest, total;
