-- When a proxy could not write, and how many calls are missing from its journal for it.
-- One row = one gap. Times UTC. Each counts as an unknown call in every audit it touches. Read by people.
SELECT
    g.from_at,
    g.to_at,
    g.calls,
    g.lines,
    p.host,
    p.pid,
    p.mode,
    g.file_id,
    g.line_offset
FROM gaps AS g
LEFT JOIN processes AS p ON p.file_id = g.file_id
ORDER BY g.from_at, g.file_id, g.line_offset;
