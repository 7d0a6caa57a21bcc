-- The book of some stretches of minutes: what the creates of keys used, summed over calls that are alike.
-- One row = creates of one key and stretch alike in run, first and end minute, standing, usage endpoint and model; with
-- $apart in their counts too, so that a row is so many equal calls, else in whether they told tokens. Minutes are whole
-- minutes since 1970-01-01 UTC by the provider's clock; sums are tokens (images: images) of calls whose counts are told,
-- NULL for all others.
-- $stretches: JSON text, a list of objects of api_key_id, from_minute and to_minute: calls active first in it;
-- $apart BOOLEAN. Read by the audit.
WITH stretches AS (
    SELECT told.api_key_id, told.from_minute, told.to_minute
    FROM (
        SELECT unnest(
            from_json($stretches, '[{"api_key_id": "VARCHAR", "from_minute": "BIGINT", "to_minute": "BIGINT"}]')
        ) AS told
    ) AS listed
)
SELECT
    c.api_key_id,
    t.from_minute,
    c.first_minute,
    c.end_minute,
    c.standing,
    c.usage_endpoint,
    c.endpoint,
    c.response_model,
    CASE WHEN c.response_model IS NULL THEN c.request_model END AS request_model,
    c.framework,
    c.run_id,
    c.open,
    c.loose,
    c.any_model,
    c.hosted,
    c.optional_class,
    CASE
        WHEN c.standing NOT IN ('counted', 'optional') THEN NULL
        WHEN $apart THEN [c.input_tokens, c.cached_input_tokens, c.output_tokens, c.images]
        -- A sum stands for all of its calls: those that told tokens are summed apart from those that told none.
        WHEN c.input_tokens IS NOT NULL AND c.output_tokens IS NOT NULL THEN [1]
        ELSE [0]
    END AS alike,
    count(*) AS calls,
    sum(c.input_tokens) FILTER (c.standing IN ('counted', 'optional')) AS input_tokens,
    sum(c.cached_input_tokens) FILTER (c.standing IN ('counted', 'optional')) AS cached_input_tokens,
    count(*) FILTER (c.standing IN ('counted', 'optional') AND c.cached_input_tokens IS NULL) AS cached_silent,
    sum(c.cache_write_tokens) FILTER (c.standing IN ('counted', 'optional')) AS cache_write_tokens,
    sum(c.output_tokens) FILTER (c.standing IN ('counted', 'optional')) AS output_tokens,
    sum(c.images) FILTER (c.standing IN ('counted', 'optional')) AS images
FROM stretches AS t
JOIN audit_creates AS c
    ON c.api_key_id = t.api_key_id
    AND c.first_minute >= t.from_minute
    AND c.first_minute < t.to_minute
GROUP BY ALL
ORDER BY ALL;
