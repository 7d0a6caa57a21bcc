-- What a turn's settle lines need beyond becoming readings; asked before they do, of the turn's own hours and ids alone,
-- so that zone maps pass over the rest. One row: whether a call of theirs ($low to $high) has a reading already; whether
-- a request_id of theirs (calls started from $first to $last, microseconds) may be that of another call within an hour;
-- whether one of them asks for another's answer, or is one. Run by ingest alone.
SELECT
    EXISTS (
        SELECT 1
        FROM readings
        WHERE call_id BETWEEN $low AND $high
          AND call_id IN (SELECT s.call_id FROM staged_calls AS s WHERE s.kind = 'settle')
    ) AS known,
    (
        SELECT count(request_id) > count(DISTINCT request_id) FROM staged_calls WHERE kind = 'settle'
    )
    OR EXISTS (
        SELECT 1
        FROM readings
        WHERE started_at BETWEEN make_timestamp($first - 3600000000) AND make_timestamp($last + 3600000000)
          AND request_id IN (
              SELECT s.request_id FROM staged_calls AS s WHERE s.kind = 'settle' AND s.request_id IS NOT NULL
          )
    ) AS twin,
    (
        SELECT bool_or(
            response_id IS NOT NULL
            AND CASE WHEN operation = 'create' THEN usage_source IS NULL ELSE usage_source IS NOT NULL END
        )
        FROM staged_calls
        WHERE kind = 'settle'
    ) AS answers;
