-- Version 2: what an unlabelled call could be of more than one imported run is kept too. The rows are worked out anew
-- (`ingest_time_labels`) in the same transaction.
ALTER TABLE time_labels ADD COLUMN sure BOOLEAN;
