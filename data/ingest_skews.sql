-- The clocks of the calls of one turn into `process_skew_steps`: so many more readings of a process whose `Date` was so
-- many steps of 30 s from our clock. What there is already is added to; nothing else is looked at. `Date` is cut to
-- whole seconds, so half a second is put back. Run by ingest.
CREATE OR REPLACE TEMP TABLE staged_skews AS
SELECT
    file_id,
    CAST(round((epoch_us(server_date) - epoch_us(first_byte_at) + 500000) / 30000000) AS BIGINT) AS step,
    count(*) AS calls
FROM staged_calls
WHERE kind = 'settle' AND server_date IS NOT NULL AND first_byte_at IS NOT NULL
GROUP BY ALL;
UPDATE process_skew_steps
SET calls = process_skew_steps.calls + s.calls
FROM staged_skews AS s
WHERE s.file_id = process_skew_steps.file_id AND s.step = process_skew_steps.step;
INSERT INTO process_skew_steps BY NAME
SELECT s.file_id, s.step, s.calls
FROM staged_skews AS s
WHERE NOT EXISTS (SELECT 1 FROM process_skew_steps AS p WHERE p.file_id = s.file_id AND p.step = s.step);
