-- One row = one whole UTC minute, framework, key, usage endpoint and model (the response's, else the request's) in
-- which calls ended by the provider's clock (completed_at, else ended_at; open calls: started_at).
-- Sums are tokens (images: images) of the counted calls alone, beside the counts that step_usage explains.
-- Read by people who lay it beside the Usage API's minute buckets; the audit makes its own sums.
CREATE OR REPLACE VIEW minute_usage AS
SELECT
    date_trunc('minute', coalesce(completed_at, ended_at, started_at)) AS minute,
    framework,
    key_fingerprint,
    api_key_id,
    usage_endpoint,
    coalesce(response_model, request_model) AS model,
    count(*) AS calls,
    count(*) FILTER (operation = 'create') AS creates,
    count(*) FILTER (standing = 'counted') AS counted,
    count(*) FILTER (standing = 'unknown') AS unknown,
    count(*) FILTER (standing = 'optional') AS optional,
    count(*) FILTER (standing = 'uncovered') AS uncovered,
    count(*) FILTER (standing = 'unbilled') AS unbilled,
    CAST(sum(input_tokens) FILTER (standing = 'counted') AS BIGINT) AS input_tokens,
    CAST(sum(cached_input_tokens) FILTER (standing = 'counted') AS BIGINT) AS cached_input_tokens,
    CAST(sum(cache_write_tokens) FILTER (standing = 'counted') AS BIGINT) AS cache_write_tokens,
    CAST(sum(output_tokens) FILTER (standing = 'counted') AS BIGINT) AS output_tokens,
    CAST(sum(reasoning_tokens) FILTER (standing = 'counted') AS BIGINT) AS reasoning_tokens,
    CAST(sum(images) FILTER (standing = 'counted') AS BIGINT) AS images
FROM calls
GROUP BY ALL;
