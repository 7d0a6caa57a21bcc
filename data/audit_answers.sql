-- What the models that were asked for answered as: one row = one pair of names that this ledger saw. $until_us BIGINT:
-- by creates begun before. Read by the audit, which learns from it what a call without an answer may have used.
SELECT DISTINCT
    request_model,
    response_model
FROM audit_creates
WHERE request_model IS NOT NULL AND response_model IS NOT NULL AND request_model <> response_model
  AND started_us < $until_us
ORDER BY request_model, response_model;
