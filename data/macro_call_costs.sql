-- One row = one create that may have cost something: those that are `counted`, and the `uncovered` but for
-- moderations, which are free. cost_usd and its parts: USD, exact; NULL where it is not known, and why says why:
-- `no_price` (of the model, the service tier, the day, or a kind of token), `unknown_count` (a count that has a price of
-- its own was not told), `other_units` (audio, images, characters, seconds), `hosted_tool` (billed beside tokens).
-- saved_usd: what its cached tokens would have cost more as other input. priced_as: the model of the price.
-- prices: JSON as `prices_json` of data/prices.py makes it; NULL: nothing has a price. A price is that of the response's
-- model, else the request's; by its whole name before its name without the day of its release; by the UTC day on which
-- the call started. `unknown` and `optional` calls are not here: they are counted beside every sum.
-- Read by `submeter sql call_costs`, `run_costs` and `step_costs`.
CREATE OR REPLACE MACRO call_costs(prices) AS TABLE
WITH listed AS (
    SELECT
        p.model,
        CAST(p.input AS DECIMAL(14, 6)) AS input_usd,
        CAST(p.cached_input AS DECIMAL(14, 6)) AS cached_usd,
        CAST(p.cache_write AS DECIMAL(14, 6)) AS write_usd,
        CAST(p.output AS DECIMAL(14, 6)) AS output_usd,
        CAST(p.begins AS DATE) AS begins,
        CAST(p.ends AS DATE) AS ends,
        p.service_tier,
        p.above_input_tokens AS above
    FROM (
        SELECT unnest(
            from_json(
                CAST(prices AS JSON),
                '[{"model": "VARCHAR", "input": "VARCHAR", "cached_input": "VARCHAR", "cache_write": "VARCHAR",
                   "output": "VARCHAR", "begins": "VARCHAR", "ends": "VARCHAR", "service_tier": "VARCHAR",
                   "above_input_tokens": "BIGINT"}]'
            )
        ) AS p
    ) AS rows
),
created AS (
    SELECT
        call_id,
        framework,
        run_id,
        step,
        started_at,
        standing,
        coalesce(response_model, request_model) AS model,
        CASE WHEN batch_id IS NOT NULL THEN 'batch' ELSE coalesce(service_tier, 'default') END AS tier,
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens,
        standing = 'uncovered'
        OR input_tokens IS NULL
        OR greatest(input_audio_tokens, input_image_tokens, output_audio_tokens, output_image_tokens) > 0
            AS has_other_units,
        list_contains(flags, 'hosted_tool')
        OR coalesce(regexp_matches(CAST(tool_usage AS VARCHAR), ':\s*[0-9.]*[1-9]'), false) AS has_hosted_tool
    FROM calls
    WHERE operation = 'create'
      AND (standing = 'counted' OR (standing = 'uncovered' AND usage_endpoint <> 'moderations'))
),
named AS (
    SELECT m.model, l.model AS priced_as, l.input_usd, l.cached_usd, l.write_usd, l.output_usd, l.begins, l.ends,
        l.service_tier, l.above
    FROM (SELECT DISTINCT model FROM created) AS m
    JOIN listed AS l ON l.model IN (m.model, regexp_replace(m.model, '-\d{4}-\d{2}-\d{2}$', ''))
),
priced AS (
    SELECT
        c.call_id,
        c.framework,
        c.run_id,
        c.step,
        c.started_at,
        c.standing,
        c.model,
        c.tier,
        c.cached_input_tokens,
        c.has_other_units,
        c.has_hosted_tool,
        p.priced_as,
        p.input_usd,
        p.cached_usd,
        c.input_tokens
            - CASE WHEN c.cached_input_tokens IS NULL THEN 0 ELSE c.cached_input_tokens END
            - CASE WHEN c.cache_write_tokens IS NULL THEN 0 ELSE c.cache_write_tokens END AS uncached_tokens,
        cost_part(c.cached_input_tokens, p.cached_usd) AS cached_part,
        cost_part(c.cache_write_tokens, p.write_usd) AS write_part,
        cost_part(c.output_tokens, p.output_usd) AS output_part,
        (c.cached_input_tokens IS NULL AND p.cached_usd > 0)
        OR (c.cache_write_tokens IS NULL AND p.write_usd > 0)
        OR (c.output_tokens IS NULL AND p.output_usd > 0) AS has_unknown_count
    FROM created AS c
    LEFT JOIN named AS p
        ON p.model = c.model
        AND p.service_tier = c.tier
        AND (p.begins IS NULL OR CAST(c.started_at AS DATE) >= p.begins)
        AND (p.ends IS NULL OR CAST(c.started_at AS DATE) < p.ends)
        AND c.input_tokens > p.above
    QUALIFY row_number() OVER (
        PARTITION BY c.call_id ORDER BY p.priced_as = c.model DESC NULLS LAST, p.above DESC NULLS LAST, p.begins DESC
    ) = 1
),
judged AS (
    SELECT
        call_id,
        framework,
        run_id,
        step,
        started_at,
        standing,
        model,
        tier,
        priced_as,
        cost_part(uncached_tokens, input_usd) AS uncached_part,
        cached_part,
        write_part,
        output_part,
        cost_part(cached_input_tokens, input_usd) - cached_part AS saved_part,
        CASE
            WHEN has_other_units THEN 'other_units'
            WHEN priced_as IS NULL THEN 'no_price'
            WHEN has_hosted_tool THEN 'hosted_tool'
            WHEN has_unknown_count OR uncached_tokens < 0 THEN 'unknown_count'
            WHEN cached_part IS NULL OR write_part IS NULL OR output_part IS NULL THEN 'no_price'
        END AS why
    FROM priced
)
SELECT
    call_id,
    framework,
    run_id,
    step,
    started_at,
    standing,
    model,
    tier AS service_tier,
    priced_as,
    CASE WHEN why IS NULL THEN uncached_part + cached_part + write_part + output_part END AS cost_usd,
    CASE WHEN why IS NULL THEN uncached_part END AS uncached_input_usd,
    CASE WHEN why IS NULL THEN cached_part END AS cached_input_usd,
    CASE WHEN why IS NULL THEN write_part END AS cache_write_usd,
    CASE WHEN why IS NULL THEN output_part END AS output_usd,
    CASE WHEN why IS NULL THEN coalesce(saved_part, CAST(0 AS DECIMAL(38, 12))) END AS saved_usd,
    why
FROM judged;
