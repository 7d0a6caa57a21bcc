-- What each model used, by framework and usage endpoint ($framework, $run_id; NULL: all).
-- One row = one framework, usage endpoint and model (the response's, else the request's). Sums are tokens (images:
-- images) of the counted calls alone, NULL where none told a count, beside the counts of calls by standing.
-- Read by people and the report.
SELECT
    framework,
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
    CAST(sum(output_tokens) FILTER (standing = 'counted') AS BIGINT) AS output_tokens,
    CAST(sum(reasoning_tokens) FILTER (standing = 'counted') AS BIGINT) AS reasoning_tokens,
    CAST(sum(images) FILTER (standing = 'counted') AS BIGINT) AS images
FROM calls
WHERE ($framework IS NULL OR framework = $framework)
  AND ($run_id IS NULL OR run_id = $run_id)
GROUP BY framework, usage_endpoint, coalesce(response_model, request_model)
ORDER BY framework, usage_endpoint, model;
