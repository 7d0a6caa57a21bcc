-- How many rows the tables have that only grow: one row. What comes in later stands after them, in each of them. Read by
-- the audit, when it keeps what it found of a ledger's past.
SELECT
    (SELECT count(*) FROM ingest_log) AS ingest_log,
    (SELECT count(*) FROM readings) AS readings,
    (SELECT count(*) FROM additions) AS additions,
    (SELECT count(*) FROM marks) AS marks,
    (SELECT count(*) FROM usage_reads) AS usage_reads,
    (SELECT count(*) FROM audits) AS audits
ORDER BY ALL;
