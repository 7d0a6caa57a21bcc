-- One row = one create that used something nobody told us the amount of. Read by people, `runs` and the audit.
-- why: what is in the way. settled_by: what would settle it; NULL: nothing we know of.
CREATE OR REPLACE VIEW unknown_calls AS
SELECT
    call_id,
    started_at,
    ended_at,
    framework,
    run_id,
    step,
    api_key_id,
    endpoint,
    usage_endpoint,
    coalesce(response_model, request_model) AS model,
    outcome,
    status_code,
    response_id,
    batch_id,
    CASE
        WHEN outcome = 'open' THEN 'still open'
        WHEN outcome = 'lost' THEN 'the proxy ended before the call did'
        WHEN is_distrusted(flags)
            THEN 'its counts cannot be believed'
        WHEN list_contains(flags, 'warm_up') AND output_tokens > 0 THEN 'a warm-up that told output all the same'
        WHEN list_contains(flags, 'unknown_endpoint') THEN 'an endpoint whose work this version does not know'
        WHEN list_contains(flags, 'background') OR batch_id IS NOT NULL THEN 'answered later, and not read yet'
        WHEN outcome = 'aborted' AND error = 'the proxy was stopped' THEN 'the proxy was stopped before the usage came'
        WHEN outcome = 'aborted' AND list_contains(flags, 'drained')
            THEN 'the client left, and the answer, read to its end, told no usage'
        WHEN outcome = 'aborted' THEN 'the client left before the usage came'
        WHEN outcome = 'unreadable' THEN 'the answer could not be read'
        WHEN outcome = 'failed' THEN 'it failed on the way'
        WHEN outcome = 'refused' THEN 'timed out or in conflict: work may have been done'
        ELSE 'the answer told no usage'
    END AS why,
    CASE
        WHEN outcome = 'open' THEN 'its end'
        WHEN list_contains(flags, 'background') THEN 'a read of the response through the proxy'
        WHEN batch_id IS NOT NULL THEN 'a read of the batch through the proxy'
        WHEN outcome = 'aborted' AND response_id IS NOT NULL
            THEN 'submeter proxy --receipts, which asks for a stored response once'
    END AS settled_by,
    flags,
    error
FROM calls
WHERE standing = 'unknown';
