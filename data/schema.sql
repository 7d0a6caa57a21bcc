-- The tables of a ledger. All of it is built from the journals and can be built again (`submeter ledger rebuild`).
--
-- Times are TIMESTAMP, UTC, microseconds. Counts are BIGINT as the provider reported them, nested as it nests them
-- (cached is inside input, reasoning inside output); NULL: the provider did not say, never a zero. (file_id,
-- line_offset) is the journal line a row was made from; `at` is when that line was written. No PRIMARY KEY, UNIQUE or
-- INDEX anywhere: exactly-once comes from `ingest_log`, and arrival order with DuckDB's zone maps is fast enough.
-- People read the views (`calls`, `runs`, `steps`, ...), not these.

-- One row per settle line: one HTTP attempt, or one model response on a WebSocket. Never updated.
CREATE TABLE readings (
    call_id VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    framework VARCHAR,
    key_fingerprint VARCHAR,
    api_key_id VARCHAR,
    run_id VARCHAR,
    step VARCHAR,
    label_source VARCHAR,
    method VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    endpoint VARCHAR,
    usage_endpoint VARCHAR,
    operation VARCHAR NOT NULL,
    retry_count BIGINT,
    organization VARCHAR,
    project VARCHAR,
    upstream VARCHAR NOT NULL,
    flags VARCHAR[],
    outcome VARCHAR NOT NULL,
    ended_at TIMESTAMP NOT NULL,
    first_byte_at TIMESTAMP,
    completed_at TIMESTAMP,
    server_date TIMESTAMP,
    status_code BIGINT,
    streamed BOOLEAN,
    request_model VARCHAR,
    response_model VARCHAR,
    response_status VARCHAR,
    response_id VARCHAR,
    request_id VARCHAR,
    batch_id VARCHAR,
    service_tier VARCHAR,
    usage JSON,
    usage_bytes BIGINT,
    usage_sha256 VARCHAR,
    tool_usage JSON,
    tool_usage_bytes BIGINT,
    tool_usage_sha256 VARCHAR,
    usage_source VARCHAR,
    error VARCHAR,
    request_bytes BIGINT,
    response_bytes BIGINT,
    overhead_us BIGINT,
    input_tokens BIGINT,
    cached_input_tokens BIGINT,
    cache_write_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    input_text_tokens BIGINT,
    input_audio_tokens BIGINT,
    input_image_tokens BIGINT,
    output_text_tokens BIGINT,
    output_audio_tokens BIGINT,
    output_image_tokens BIGINT,
    total_tokens BIGINT,
    images BIGINT,
    characters BIGINT,
    seconds DOUBLE,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per start line without a settle line yet; gone in the transaction that inserts the reading.
CREATE TABLE open_calls (
    call_id VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    framework VARCHAR,
    key_fingerprint VARCHAR,
    api_key_id VARCHAR,
    run_id VARCHAR,
    step VARCHAR,
    label_source VARCHAR,
    method VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    endpoint VARCHAR,
    usage_endpoint VARCHAR,
    operation VARCHAR NOT NULL,
    retry_count BIGINT,
    organization VARCHAR,
    project VARCHAR,
    upstream VARCHAR NOT NULL,
    flags VARCHAR[],
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per create whose request_id another create has too. Both stay two calls; `calls` flags them `seen_twice`.
CREATE TABLE twins (
    call_id VARCHAR NOT NULL,
    request_id VARCHAR NOT NULL
);

-- One row per stretch of time [from_at, to_at) of one imported run, and minute of it: where unlabelled calls of its
-- framework belong (sure), may belong (not sure), or which step calls of the run itself are of. See `imported_times`.
-- Worked out anew from all marks whenever marks come in, so that the order in which they come does not matter.
CREATE TABLE time_labels (
    framework VARCHAR NOT NULL,
    minute TIMESTAMP NOT NULL,
    from_at TIMESTAMP NOT NULL,
    to_at TIMESTAMP NOT NULL,
    run_id VARCHAR NOT NULL,
    step VARCHAR,
    sure BOOLEAN
);

-- One row per read line: a poll, a batch or a receipt told the usage of a call that is in `readings`.
CREATE TABLE additions (
    call_id VARCHAR NOT NULL,
    response_id VARCHAR,
    source VARCHAR NOT NULL,
    usage JSON,
    completed_at TIMESTAMP,
    response_status VARCHAR,
    response_model VARCHAR,
    service_tier VARCHAR,
    flags VARCHAR[],
    input_tokens BIGINT,
    cached_input_tokens BIGINT,
    cache_write_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    input_text_tokens BIGINT,
    input_audio_tokens BIGINT,
    input_image_tokens BIGINT,
    output_text_tokens BIGINT,
    output_audio_tokens BIGINT,
    output_image_tokens BIGINT,
    total_tokens BIGINT,
    images BIGINT,
    characters BIGINT,
    seconds DOUBLE,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per key line: at first sight of a key, and when its mapping changes. The latest row of a fingerprint stands.
CREATE TABLE keys (
    key_fingerprint VARCHAR NOT NULL,
    framework VARCHAR,
    api_key_id VARCHAR,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per run or step line: one edge of a run or of a step. marked_at is when it happened.
CREATE TABLE marks (
    kind VARCHAR NOT NULL,
    framework VARCHAR,
    run_id VARCHAR NOT NULL,
    step VARCHAR,
    edge VARCHAR NOT NULL,
    status VARCHAR,
    marked_by VARCHAR NOT NULL,
    marked_at TIMESTAMP NOT NULL,
    "at" TIMESTAMP NOT NULL,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL
);

-- One row per read of the Usage API, good or not. pages: SHA-256 of each raw page, in order. good, problem and message:
-- as the read was judged from its pages when it came in; a read whose pages were missing then is not good. holes:
-- minutes that count as empty without a bucket. rows: its rows in `usage_buckets`.
CREATE TABLE usage_reads (
    read_id VARCHAR NOT NULL,
    usage_endpoint VARCHAR NOT NULL,
    api_key_ids VARCHAR[],
    window_start TIMESTAMP NOT NULL,
    window_end TIMESTAMP NOT NULL,
    asked_at TIMESTAMP NOT NULL,
    answered_at TIMESTAMP,
    good BOOLEAN NOT NULL,
    problem VARCHAR,
    status_code BIGINT,
    message VARCHAR,
    request_id VARCHAR,
    pages VARCHAR[],
    holes BIGINT,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL,
    rows BIGINT
);

-- One row per result row of a minute bucket of a good read, as the provider named and counted it.
CREATE TABLE usage_buckets (
    read_id VARCHAR NOT NULL,
    usage_endpoint VARCHAR NOT NULL,
    minute TIMESTAMP NOT NULL,
    api_key_id VARCHAR,
    model VARCHAR,
    batch BOOLEAN,
    service_tier VARCHAR,
    input_tokens BIGINT,
    input_cached_tokens BIGINT,
    input_cache_write_tokens BIGINT,
    output_tokens BIGINT,
    images BIGINT,
    num_model_requests BIGINT,
    characters BIGINT,
    seconds DOUBLE
);

-- One row per verdict, of a part or of a run. Verdicts are rows, never replaced. rests_on: digests of what it rests on;
-- next_read_at: when another read could bring it further, NULL where none could.
CREATE TABLE audits (
    audit_id VARCHAR NOT NULL,
    audited_at TIMESTAMP NOT NULL,
    scope VARCHAR NOT NULL,
    framework VARCHAR,
    run_id VARCHAR,
    api_key_id VARCHAR,
    window_start TIMESTAMP,
    window_end TIMESTAMP,
    verdict VARCHAR NOT NULL,
    reason VARCHAR,
    final BOOLEAN,
    timing VARCHAR,
    attempt BIGINT,
    proof VARCHAR,
    rests_on JSON,
    next_read_at TIMESTAMP,
    detail JSON,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per count that an audit worked out for an unknown call. Summed nowhere.
CREATE TABLE inferred (
    audit_id VARCHAR NOT NULL,
    call_id VARCHAR NOT NULL,
    input_tokens BIGINT,
    cached_input_tokens BIGINT,
    cache_write_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    input_text_tokens BIGINT,
    input_audio_tokens BIGINT,
    input_image_tokens BIGINT,
    output_text_tokens BIGINT,
    output_audio_tokens BIGINT,
    output_image_tokens BIGINT,
    total_tokens BIGINT,
    images BIGINT,
    characters BIGINT,
    seconds DOUBLE,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per journal, that is per writing process. A process with an upstream is a proxy.
-- last_line_at: its last line carried in. observed_at: when an ingest last saw it hold its journal; NULL: never (a
-- journal of another host). stopped_at: its stop line. gone_at: when it was first known to have ended without one,
-- at most 24 hours after its last line; NULL while it may still be there.
CREATE TABLE processes (
    file_id VARCHAR NOT NULL,
    host VARCHAR NOT NULL,
    boot_id VARCHAR,
    pid BIGINT NOT NULL,
    version VARCHAR,
    mode VARCHAR NOT NULL,
    upstream VARCHAR,
    listen VARCHAR[],
    started_at TIMESTAMP NOT NULL,
    last_line_at TIMESTAMP NOT NULL,
    observed_at TIMESTAMP,
    stopped_at TIMESTAMP,
    gone_at TIMESTAMP
);

-- One row per process and step of 30 s: so many of its readings whose `Date` was that far from our clock (step 1: the
-- provider's clock is 30 s ahead of ours). Read through `process_skews`.
CREATE TABLE process_skew_steps (
    file_id VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    calls BIGINT NOT NULL
);

-- One row per gap line: between these times this process could not write, and so many lines and calls are missing.
CREATE TABLE gaps (
    from_at TIMESTAMP NOT NULL,
    to_at TIMESTAMP NOT NULL,
    calls BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    file_id VARCHAR NOT NULL,
    line_offset BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per stretch of a journal carried in: everything before end_offset is in the ledger. rows: readings it made.
CREATE TABLE ingest_log (
    file_id VARCHAR NOT NULL,
    end_offset BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    "at" TIMESTAMP NOT NULL
);

-- One row per version of this schema that the file has been at; the highest stands.
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    "at" TIMESTAMP NOT NULL
);
