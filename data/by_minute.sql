-- What was used in each minute, as the Usage API would show it ($framework; NULL: all).
-- One row = one UTC minute, key, usage endpoint and model in which calls ended by the provider's clock. Sums are tokens
-- (images: images) of the counted calls alone. Read by people who lay it beside the Usage API's buckets.
SELECT
    minute,
    framework,
    key_fingerprint,
    api_key_id,
    usage_endpoint,
    model,
    calls,
    counted,
    unknown,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    images
FROM minute_usage
WHERE $framework IS NULL OR framework = $framework
ORDER BY minute, framework, key_fingerprint, api_key_id, usage_endpoint, model;
