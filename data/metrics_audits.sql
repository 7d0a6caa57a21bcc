-- The verdicts on one run ($framework, $run_id), oldest first, and on the parts (a key id and a window) that they rest on.
-- Times in microseconds UTC; detail: both books, d per unit, reads, versions, as JSON. Read by `submeter metrics update`.
WITH of_run AS (
    SELECT audit_id, detail
    FROM audits
    WHERE scope = 'run' AND run_id = $run_id AND framework IS NOT DISTINCT FROM $framework
),
rested_on AS (
    SELECT unnest(json_extract_string(detail, '$.parts[*].audit_id')) AS audit_id
    FROM of_run
)
SELECT
    audit_id,
    epoch_us(audited_at) AS audited_us,
    scope,
    api_key_id,
    epoch_us(window_start) AS window_start_us,
    epoch_us(window_end) AS window_end_us,
    verdict,
    reason,
    final,
    timing,
    attempt,
    proof,
    CAST(detail AS VARCHAR) AS detail
FROM audits AS a
WHERE audit_id IN (SELECT audit_id FROM of_run UNION ALL SELECT audit_id FROM rested_on)
ORDER BY audited_at, a.at, file_id, line_offset;
