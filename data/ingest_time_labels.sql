-- Works out anew which stretches of time belong to imported runs: one row of `time_labels` = one of them and minute of
-- it. Run by ingest where marks came in, and where the views are made anew.
DELETE FROM time_labels;

INSERT INTO time_labels BY NAME
SELECT
    framework,
    run_id,
    step,
    from_at,
    to_at,
    sure,
    unnest(range(date_trunc('minute', from_at), to_at, INTERVAL 1 MINUTE)) AS minute
FROM imported_times
ORDER BY framework, from_at, run_id, minute;
