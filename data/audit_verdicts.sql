-- Every verdict so far: one row = one audit of a part (a key id and a window) or of a run, oldest first. Times in
-- microseconds UTC. latest_reads: the read of each usage endpoint that the verdict was reached on; book_state: digest
-- of the book it was reached on. Read by the audit.
SELECT
    audit_id,
    epoch_us(audited_at) AS audited_us,
    scope,
    framework,
    run_id,
    api_key_id,
    epoch_us(window_start) AS window_start_us,
    epoch_us(window_end) AS window_end_us,
    verdict,
    reason,
    final,
    timing,
    attempt,
    proof,
    CAST(json_extract(detail, '$.latest_reads') AS VARCHAR) AS latest_reads,
    json_extract_string(detail, '$.book_state') AS book_state
FROM audits AS a
ORDER BY audited_at, a.at, file_id, line_offset;
