-- When the keys were active and for whom: one row = one stretch of minutes in which creates of one key and one run
-- (run_id NULL: of none) are active without a minute between them. api_key_id NULL: keys without an id.
-- Minutes are whole minutes since 1970-01-01 UTC, first and last active one. keyless: creates on a key without an id
-- (a refused one without any key is not counted: it used none). $shift_min INTEGER. Read by the audit.
WITH minutes AS (
    -- Calls of one minute are of one stretch, so that less is put in order.
    SELECT
        api_key_id,
        framework,
        run_id,
        first_minute,
        max(end_minute) + 1 + $shift_min AS last_minute,
        count(*) AS creates,
        count(*) FILTER (standing = 'counted') AS counted,
        count(*) FILTER (open) AS open,
        count(*) FILTER (api_key_id IS NULL AND standing <> 'unbilled') AS keyless
    FROM audit_creates
    GROUP BY api_key_id, framework, run_id, first_minute
),
placed AS (
    -- Keys and runs by number, so that one window puts all minutes in order: one for each run costs more.
    SELECT
        api_key_id,
        framework,
        run_id,
        first_minute,
        last_minute,
        creates,
        counted,
        open,
        keyless,
        8589934592 * dense_rank() OVER (ORDER BY api_key_id, framework, run_id) AS place
    FROM minutes
),
reached AS (
    SELECT
        api_key_id,
        framework,
        run_id,
        first_minute,
        last_minute,
        creates,
        counted,
        open,
        keyless,
        place + first_minute AS begins,
        max(place + last_minute) OVER (
            ORDER BY place + first_minute
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
    FROM placed
),
numbered AS (
    SELECT
        api_key_id,
        framework,
        run_id,
        first_minute,
        last_minute,
        creates,
        counted,
        open,
        keyless,
        max(CASE WHEN before IS NULL OR begins > before + 1 THEN begins END) OVER (
            ORDER BY begins
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS stretch
    FROM reached
)
SELECT
    api_key_id,
    framework,
    run_id,
    min(first_minute) AS first_minute,
    max(last_minute) AS last_minute,
    CAST(sum(creates) AS BIGINT) AS creates,
    CAST(sum(counted) AS BIGINT) AS counted,
    CAST(sum(open) AS BIGINT) AS open,
    CAST(sum(keyless) AS BIGINT) AS keyless
FROM numbered
GROUP BY api_key_id, framework, run_id, stretch
ORDER BY api_key_id, first_minute, last_minute, framework, run_id, stretch;
