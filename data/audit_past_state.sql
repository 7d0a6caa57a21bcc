-- Whether the part of a ledger from before an instant is what it was, but for rows that came in since: one row, how many
-- facts there are and digests of them. The facts: the stretches of journals that had been carried in (a ledger that was
-- built anew has others) and the reads that were good then; what the clocks of these journals are off by; when processes
-- that began before the instant were up, as far as it; calls open since before it; all keys and gaps; which imported run
-- had which minute. Equal digests: what `audit_past_news` lists is all that can have changed anything of before.
-- $until_us BIGINT, the instant, a whole minute; $ingest_log and $usage_reads BIGINT: how many rows these tables had.
-- Read by the audit.
WITH until AS (
    SELECT make_timestamp($until_us) AS until_at
),
facts AS (
    SELECT hash('carried', file_id, end_offset, rows, "at", rowid) AS digest
    FROM ingest_log
    WHERE rowid < $ingest_log
    UNION ALL
    SELECT hash('read', read_id, good) AS digest
    FROM usage_reads
    WHERE rowid < $usage_reads
    UNION ALL
    SELECT hash('skew', file_id, skew_us) AS digest
    FROM process_skews
    WHERE file_id IN (SELECT g.file_id FROM ingest_log AS g WHERE g.rowid < $ingest_log)
    UNION ALL
    SELECT
        hash(
            'process',
            p.file_id,
            p.host,
            p.mode,
            p.started_at,
            p.stopped_at,
            p.gone_at,
            p.observed_at IS NULL,
            CASE WHEN p.gone_at IS NOT NULL THEN p.last_line_at END,
            t.file_id IS NULL,
            least(t.to_at, u.until_at),
            least(t.maybe_until, u.until_at)
        ) AS digest
    FROM processes AS p
    JOIN until AS u ON p.started_at < u.until_at
    LEFT JOIN proxy_times AS t ON t.file_id = p.file_id
    UNION ALL
    SELECT hash('open', o.call_id, p.stopped_at, p.gone_at) AS digest
    FROM open_calls AS o
    JOIN until AS u ON o.started_at < u.until_at
    LEFT JOIN processes AS p ON p.file_id = o.file_id
    UNION ALL
    SELECT hash('key', x.framework, x.key_fingerprint, x.api_key_id, k.api_key_id) AS digest
    FROM (SELECT DISTINCT framework, key_fingerprint, api_key_id FROM keys) AS x
    LEFT JOIN known_keys AS k ON k.key_fingerprint = x.key_fingerprint
    UNION ALL
    SELECT hash('gap', file_id, line_offset) AS digest
    FROM gaps
    UNION ALL
    SELECT hash('label', l.framework, l.minute, l.from_at, l.to_at, l.run_id, l.step, l.sure) AS digest
    FROM time_labels AS l
    JOIN until AS u ON l.minute < u.until_at
)
SELECT
    count(*) AS facts,
    CAST(bit_xor(digest) AS VARCHAR) AS digest,
    CAST(sum(digest) AS VARCHAR) AS total
FROM facts
ORDER BY facts, digest, total;
