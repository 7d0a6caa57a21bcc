-- On which side of an instant the runs lie: one row = one run that a call, a mark or a verdict names; before, after: it
-- has such on this side; nameless: some of them name no framework. By our clock, as it was written down.
-- $until_us BIGINT, the instant; $since_us BIGINT: what is older is left out. Read by the audit, after it has laid out
-- the calls.
WITH told AS (
    SELECT
        CASE WHEN m.framework IS NULL THEN d.framework ELSE m.framework END AS framework,
        m.run_id,
        m.framework IS NULL AS nameless,
        m.marked_at < make_timestamp($until_us) AS before
    FROM marks AS m
    LEFT JOIN declared_runs AS d ON d.run_id = m.run_id
    WHERE m.marked_at >= make_timestamp($since_us)
    UNION ALL
    SELECT framework, run_id, false AS nameless, started_us < $until_us AS before
    FROM audited_calls
    WHERE run_id IS NOT NULL
    UNION ALL
    SELECT framework, run_id, false AS nameless, window_start < make_timestamp($until_us) AS before
    FROM audits
    WHERE run_id IS NOT NULL AND window_start >= make_timestamp($since_us)
)
SELECT
    framework,
    run_id,
    bool_or(before) AS before,
    bool_or(NOT before) AS after,
    bool_or(nameless)
    OR run_id IN (SELECT r.run_id FROM readings AS r WHERE r.framework IS NULL AND r.run_id IS NOT NULL)
    OR run_id IN (SELECT o.run_id FROM open_calls AS o WHERE o.framework IS NULL AND o.run_id IS NOT NULL) AS nameless
FROM told
GROUP BY framework, run_id
ORDER BY framework, run_id;
