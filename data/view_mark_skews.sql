-- One row = one mark of a run or step, (file_id, line_offset) as in `marks`, and the skew of the clock it was made by.
-- skew_us: microseconds to be added to its marked_at. It is that of the mark's own process where its clock is known; else
-- that of the proxy of the same host that was up at that time, the one started latest. The host of an imported mark is
-- not told, so there any proxy serves, the importer's host before others. skew_known: false where no such clock is
-- known; skew_us is 0 then, and whoever uses the mark leaves a minute more on each side. Read by the audit.
CREATE OR REPLACE VIEW mark_skews AS
WITH placed AS (
    SELECT
        m.file_id,
        m.line_offset,
        m.marked_at,
        m.marked_by,
        w.host,
        s.skew_us
    FROM marks AS m
    LEFT JOIN processes AS w ON w.file_id = m.file_id
    LEFT JOIN process_skews AS s ON s.file_id = m.file_id
),
clocks AS (
    SELECT t.file_id, t.host, t.from_at, t.to_at, s.skew_us
    FROM proxy_times AS t
    JOIN process_skews AS s ON s.file_id = t.file_id
),
lent AS (
    SELECT
        p.file_id,
        p.line_offset,
        arg_max(
            c.skew_us,
            {'same_host': c.host = p.host, 'from_at': c.from_at, 'file_id': c.file_id}
        ) AS skew_us
    FROM placed AS p
    JOIN clocks AS c ON p.marked_at BETWEEN c.from_at AND c.to_at
    WHERE p.skew_us IS NULL AND (c.host = p.host OR p.marked_by = 'metrics' OR p.host IS NULL)
    GROUP BY p.file_id, p.line_offset
)
SELECT
    p.file_id,
    p.line_offset,
    coalesce(p.skew_us, l.skew_us, 0) AS skew_us,
    coalesce(p.skew_us, l.skew_us) IS NOT NULL AS skew_known
FROM placed AS p
LEFT JOIN lent AS l ON l.file_id = p.file_id AND l.line_offset = p.line_offset;
