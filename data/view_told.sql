-- One row = one call whose usage was told after its settle line: by the rest of its own stream (source `reported`, the
-- last of these), else by the first terminal read that carried any.
-- Inner view of `calls`.
CREATE OR REPLACE VIEW told AS
SELECT
    call_id,
    response_id,
    source,
    usage,
    completed_at,
    response_status,
    response_model,
    service_tier,
    flags,
    input_tokens,
    cached_input_tokens,
    cache_write_tokens,
    output_tokens,
    reasoning_tokens,
    input_text_tokens,
    input_audio_tokens,
    input_image_tokens,
    output_text_tokens,
    output_audio_tokens,
    output_image_tokens,
    total_tokens,
    images,
    characters,
    seconds
FROM additions
WHERE (usage IS NOT NULL OR input_tokens IS NOT NULL OR output_tokens IS NOT NULL OR images IS NOT NULL)
  AND (
      response_status IS NULL
      OR response_status IN ('completed', 'incomplete', 'failed', 'cancelled', 'expired')
  )
QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY
    source = 'reported' DESC,
    CASE WHEN source = 'reported' THEN epoch_us("at") END DESC,
    "at",
    file_id,
    line_offset
) = 1;
