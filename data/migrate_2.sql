-- Version 2: verdicts say what they rest on, and when another read could bring them further.
ALTER TABLE audits ADD COLUMN rests_on JSON;
ALTER TABLE audits ADD COLUMN next_read_at TIMESTAMP;
