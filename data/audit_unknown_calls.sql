-- The unknown calls of one key that were begun in a period, for a verdict to name them: one row = one call, at most
-- $most of them, oldest first. $api_key_id VARCHAR, $from_us and $to_us BIGINT by the provider's clock, $most BIGINT.
-- Read by the audit.
SELECT
    call_id,
    started_us,
    framework,
    run_id,
    step,
    outcome,
    usage_endpoint,
    coalesce(response_model, request_model) AS model
FROM audit_creates
WHERE standing = 'unknown'
  AND api_key_id = $api_key_id
  AND started_us + skew_us >= $from_us
  AND started_us + skew_us < $to_us
ORDER BY started_us, call_id
LIMIT $most;
