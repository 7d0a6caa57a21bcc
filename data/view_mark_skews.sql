-- One row = one mark of a run or step, (file_id, line_offset) as in `marks`, and the skew of the clock it was made by.
-- skew_us: microseconds to be added to its marked_at. It is that of the mark's own process where its clock is known; else
-- that of the proxy of the same host that was up at that time, the one started latest, or else of the last one started
-- before, if nobody knows that it was not up any more. The host of an imported mark is not told, so there any proxy
-- serves, the importer's host before others. skew_known: false where no such clock is
-- known; skew_us is 0 then, and whoever uses the mark leaves a minute more on each side. Read by the audit.
CREATE OR REPLACE VIEW mark_skews AS
WITH clocks AS MATERIALIZED (
    SELECT file_id, skew_us
    FROM process_skews
),
placed AS MATERIALIZED (
    SELECT
        m.file_id,
        m.line_offset,
        m.marked_at,
        m.marked_by,
        w.host,
        c.skew_us
    FROM marks AS m
    LEFT JOIN processes AS w ON w.file_id = m.file_id
    LEFT JOIN clocks AS c ON c.file_id = m.file_id
),
borrowed AS (
    SELECT file_id, line_offset, marked_at, marked_by, host
    FROM placed
    WHERE skew_us IS NULL
),
host_clocks AS MATERIALIZED (
    SELECT t.file_id, t.host, t.from_at, t.to_at, t.maybe_until, c.skew_us
    FROM proxy_times AS t
    JOIN clocks AS c ON c.file_id = t.file_id
),
-- Hour by hour, so that a mark is set beside the proxies of its own hour and not beside all there ever were.
proxy_hours AS (
    SELECT
        t.file_id,
        t.host,
        t.from_at,
        t.to_at,
        t.skew_us,
        unnest(
            generate_series(
                date_trunc('hour', greatest(t.from_at, (SELECT min(b.marked_at) FROM borrowed AS b))),
                least(t.to_at, (SELECT max(b.marked_at) FROM borrowed AS b)),
                INTERVAL 1 HOUR
            )
        ) AS hour
    FROM host_clocks AS t
),
lent AS (
    SELECT
        b.file_id,
        b.line_offset,
        bool_or(coalesce(p.host = b.host, false)) AS same_host,
        arg_max(
            p.skew_us,
            {'same_host': coalesce(p.host = b.host, false), 'from_at': p.from_at, 'file_id': p.file_id}
        ) AS skew_us
    FROM borrowed AS b
    JOIN proxy_hours AS p ON p.hour = date_trunc('hour', b.marked_at)
    WHERE b.marked_at BETWEEN p.from_at AND p.to_at
      AND (p.host = b.host OR b.marked_by = 'metrics' OR b.host IS NULL)
    GROUP BY b.file_id, b.line_offset
),
maybe AS (
    SELECT b.file_id, b.line_offset, p.skew_us
    FROM borrowed AS b
    ASOF JOIN host_clocks AS p ON p.host = b.host AND p.from_at <= b.marked_at
    WHERE b.marked_at <= p.maybe_until
),
known AS (
    SELECT
        p.file_id,
        p.line_offset,
        coalesce(
            p.skew_us,
            CASE WHEN l.same_host THEN l.skew_us END,
            e.skew_us,
            l.skew_us
        ) AS skew_us
    FROM placed AS p
    LEFT JOIN lent AS l ON l.file_id = p.file_id AND l.line_offset = p.line_offset
    LEFT JOIN maybe AS e ON e.file_id = p.file_id AND e.line_offset = p.line_offset
)
SELECT
    file_id,
    line_offset,
    coalesce(skew_us, 0) AS skew_us,
    skew_us IS NOT NULL AS skew_known
FROM known;
