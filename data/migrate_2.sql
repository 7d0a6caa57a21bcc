-- Version 2: verdicts say what they rest on, and when another read could bring them further.
ALTER TABLE audits ADD COLUMN rests_on JSON;
ALTER TABLE audits ADD COLUMN next_read_at TIMESTAMP;
-- Version 2: what an unlabelled call could be of more than one imported run is kept too. The rows are worked out anew
-- (`ingest_time_labels`) in the same transaction.
ALTER TABLE time_labels ADD COLUMN sure BOOLEAN;
-- From version 1 to 2: reads are judged once by the strict reader, and the clocks of each process are counted.
-- Reads that a ledger of version 1 holds as good were taken in by a rule that let more pass: none of them is good until
-- its pages have been read again, which follows at once.
ALTER TABLE usage_reads ADD COLUMN rows BIGINT;
UPDATE usage_reads
SET
    rows = 0,
    problem = CASE WHEN good THEN 'not_judged' ELSE problem END,
    good = false;
DELETE FROM usage_buckets;
CREATE TABLE process_skew_steps (
    file_id VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    calls BIGINT NOT NULL
);
INSERT INTO process_skew_steps
SELECT
    file_id,
    CAST(round((epoch_us(server_date) - epoch_us(first_byte_at) + 500000) / 30000000) AS BIGINT) AS step,
    count(*) AS calls
FROM readings
WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
GROUP BY ALL;
