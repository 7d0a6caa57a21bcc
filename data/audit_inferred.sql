-- What was inferred for the one unknown call of a part: one row = one call of the latest audit of one key and window, if
-- that audit found it `incomplete` and inferred a number; none otherwise. Counts are tokens (images: images); times are
-- microseconds UTC. They are a possibility, read back to be shown, and never part of a sum.
-- $api_key_id VARCHAR, $window_start_us and $window_end_us BIGINT. Read by `submeter explain`.
WITH latest AS (
    SELECT audit_id, audited_at, verdict
    FROM audits
    WHERE scope = 'part'
      AND api_key_id = $api_key_id
      AND window_start = make_timestamp($window_start_us)
      AND window_end = make_timestamp($window_end_us)
      AND verdict NOT IN ('not_permitted', 'unavailable')
    ORDER BY audited_at DESC, "at" DESC, file_id DESC, line_offset DESC
    LIMIT 1
)
SELECT
    a.audit_id,
    epoch_us(a.audited_at) AS audited_us,
    i.call_id,
    c.framework,
    c.run_id,
    c.step,
    i.input_tokens,
    i.cached_input_tokens,
    i.output_tokens,
    i.images
FROM latest AS a
JOIN inferred AS i ON i.audit_id = a.audit_id
LEFT JOIN calls AS c ON c.call_id = i.call_id
WHERE a.verdict = 'incomplete'
ORDER BY i.call_id, i.file_id, i.line_offset;
