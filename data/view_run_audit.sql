-- One row = one run that was ever audited: its latest verdict, and beside it the latest final one.
-- detail holds both books, d per unit, k, reads and versions as JSON. Read by `submeter runs`, the report and people.
CREATE OR REPLACE VIEW run_audit AS
WITH verdicts AS (
    SELECT
        framework,
        run_id,
        audit_id,
        audited_at,
        verdict,
        reason,
        final,
        timing,
        attempt,
        proof,
        window_start,
        window_end,
        detail,
        row_number() OVER (
            PARTITION BY run_id, framework ORDER BY audited_at DESC, "at" DESC, file_id DESC, line_offset DESC
        ) AS nth,
        count(*) OVER (PARTITION BY run_id, framework) AS verdicts,
        max(CASE WHEN final THEN {'at': audited_at, 'id': audit_id, 'verdict': verdict} END) OVER (
            PARTITION BY run_id, framework
        ) AS last_final
    FROM audits
    WHERE scope = 'run' AND run_id IS NOT NULL
)
SELECT
    CASE WHEN framework IS NULL THEN run_id ELSE framework || '/' || run_id END AS name,
    framework,
    run_id,
    audit_id,
    audited_at,
    verdict,
    reason,
    final,
    timing,
    attempt,
    proof,
    window_start,
    window_end,
    verdicts,
    last_final.verdict AS final_verdict,
    last_final.at AS final_audited_at,
    detail
FROM verdicts
WHERE nth = 1;
