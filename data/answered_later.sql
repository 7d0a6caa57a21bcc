-- Which background responses and batches have not told their usage yet.
-- One row = one create that is answered later and stands as unknown. A read of it through the proxy settles it.
-- Times UTC. Read by people.
SELECT
    call_id,
    started_at,
    framework,
    run_id,
    step,
    endpoint,
    response_id,
    batch_id,
    response_status
FROM calls
WHERE standing = 'unknown' AND (list_contains(flags, 'background') OR batch_id IS NOT NULL)
ORDER BY started_at, call_id;
