-- What a call means for sums (NULL for a read): every create has exactly one standing, and only `counted` is summed.
-- Of the call: operation, outcome, status_code, usage_endpoint, flags; told_flags: those of the read that told its
-- usage; input_tokens, output_tokens, images: as reported, by whichever line told them.
-- `optional`: usage was reported and may not be billed; of a warm-up also where none was reported, and where it
-- told output tokens it is `unknown`. Inner macro of `calls` and `standings`.
CREATE OR REPLACE MACRO standing_of(
    operation, outcome, status_code, usage_endpoint, flags, told_flags, input_tokens, output_tokens, images
) AS
CASE
    WHEN operation <> 'create' THEN NULL
    WHEN is_unbilled(flags, outcome, status_code) THEN 'unbilled'
    WHEN list_contains(flags, 'unknown_endpoint') THEN 'unknown'
    WHEN usage_endpoint IS NULL OR usage_endpoint NOT IN ('completions', 'embeddings', 'images') THEN 'uncovered'
    WHEN is_distrusted(flags) OR is_distrusted(told_flags) THEN 'unknown'
    -- A warm-up that tells output worked although it was asked not to: whether that is billed nobody says.
    WHEN list_contains(flags, 'warm_up') AND output_tokens > 0 THEN 'unknown'
    WHEN outcome <> 'open' AND list_contains(flags, 'warm_up') THEN 'optional'
    WHEN CASE usage_endpoint
            WHEN 'completions' THEN input_tokens IS NULL OR output_tokens IS NULL
            WHEN 'embeddings' THEN input_tokens IS NULL
            ELSE images IS NULL
        END
        THEN 'unknown'
    WHEN list_contains(flags, 'optional') THEN 'optional'
    ELSE 'counted'
END;
