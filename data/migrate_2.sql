-- Version 2: verdicts say what they rest on, and when another read could bring them further.
ALTER TABLE audits ADD COLUMN rests_on JSON;
ALTER TABLE audits ADD COLUMN next_read_at TIMESTAMP;
-- Version 2: what an unlabelled call could be of more than one imported run is kept too. The rows are worked out anew
-- (`ingest_time_labels`) in the same transaction.
ALTER TABLE time_labels ADD COLUMN sure BOOLEAN;
