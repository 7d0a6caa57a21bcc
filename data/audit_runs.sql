-- Every run episode with the times an audit needs: one row = one episode; times in microseconds UTC by the provider's
-- clock: a mark is corrected by the skew of the clock it was made by, an edge that no mark made by that of the run's
-- calls. ended_us: NULL while it is open. skew_known: false where a mark was made by a clock of which nothing is known.
-- $run_ids: JSON text, a list of the run ids to tell of; NULL: of all. Read by the audit, which asks audit_plain_runs
-- first.
WITH told AS (
    SELECT
        k.framework,
        k.run_id,
        k.marked_at,
        max(s.skew_us) AS skew_us,
        bool_and(s.skew_known) AS skew_known
    FROM known_marks AS k
    JOIN mark_skews AS s ON s.file_id = k.file_id AND s.line_offset = k.line_offset
    WHERE $run_ids IS NULL OR list_contains(from_json($run_ids, '["VARCHAR"]'), k.run_id)
    GROUP BY k.framework, k.run_id, k.marked_at
),
called AS (
    SELECT framework, run_id, arg_min(skew_us, started_us) AS skew_us
    FROM audit_creates
    WHERE run_id IS NOT NULL AND ($run_ids IS NULL OR list_contains(from_json($run_ids, '["VARCHAR"]'), run_id))
    GROUP BY framework, run_id
)
SELECT
    r.framework,
    r.run_id,
    r.episode,
    epoch_us(r.started_at) + coalesce(b.skew_us, c.skew_us, 0) AS started_us,
    epoch_us(r.ended_at) + coalesce(e.skew_us, c.skew_us, 0) AS ended_us,
    r.end_source,
    coalesce(b.skew_known, true) AND coalesce(e.skew_known, true) AS skew_known
FROM runs AS r
LEFT JOIN told AS b
    ON b.run_id = r.run_id AND b.marked_at = r.started_at AND b.framework IS NOT DISTINCT FROM r.framework
LEFT JOIN told AS e
    ON e.run_id = r.run_id AND e.marked_at = r.ended_at AND e.framework IS NOT DISTINCT FROM r.framework
LEFT JOIN called AS c ON c.run_id = r.run_id AND c.framework IS NOT DISTINCT FROM r.framework
WHERE r.started_at IS NOT NULL
  AND ($run_ids IS NULL OR list_contains(from_json($run_ids, '["VARCHAR"]'), r.run_id))
ORDER BY r.started_at, r.framework, r.run_id, r.episode;
