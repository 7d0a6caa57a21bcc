-- The canary calls of `doctor --find-key-ids`, newest first: one row = one that was counted. Times in microseconds UTC.
-- Read by `submeter doctor`, which looks for the key id under which the Usage API shows these tokens of
-- this model.
SELECT
    key_fingerprint,
    epoch_us(started_at) AS started_us,
    epoch_us(ended_at) AS ended_us,
    response_model,
    input_tokens,
    output_tokens
FROM calls
WHERE framework = '_submeter'
  AND run_id = 'canary'
  AND standing = 'counted'
  AND key_fingerprint IS NOT NULL
  AND ended_at IS NOT NULL
  AND response_model IS NOT NULL
ORDER BY started_at DESC, call_id;
