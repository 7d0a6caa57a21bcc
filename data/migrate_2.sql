-- From version 1 to 2, in three parts; what is there already is left.
-- Verdicts say what they rest on, and when another read could bring them further.
ALTER TABLE audits ADD COLUMN IF NOT EXISTS rests_on JSON;
ALTER TABLE audits ADD COLUMN IF NOT EXISTS next_read_at TIMESTAMP;
-- What an unlabelled call could be of more than one imported run is kept too. The rows are worked out anew
-- (`ingest_time_labels`) in the same transaction.
ALTER TABLE time_labels ADD COLUMN IF NOT EXISTS sure BOOLEAN;
-- Reads are judged once by the strict reader, and the clocks of each process are counted.
-- Reads that a ledger of version 1 holds as good were taken in by a rule that let more pass: none of them is good until
-- its pages have been read again, which follows at once.
ALTER TABLE usage_reads ADD COLUMN IF NOT EXISTS rows BIGINT;
UPDATE usage_reads
SET
    rows = 0,
    problem = CASE WHEN good THEN 'not_judged' ELSE problem END,
    good = false;
DELETE FROM usage_buckets;
CREATE TABLE IF NOT EXISTS process_skew_steps (
    file_id VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    calls BIGINT NOT NULL
);
DELETE FROM process_skew_steps;
INSERT INTO process_skew_steps
SELECT
    file_id,
    CAST(round((epoch_us(server_date) - epoch_us(first_byte_at) + 500000) / 30000000) AS BIGINT) AS step,
    count(*) AS calls
FROM readings
WHERE server_date IS NOT NULL AND first_byte_at IS NOT NULL
GROUP BY ALL;
