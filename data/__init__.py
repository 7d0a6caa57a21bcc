"""Everything at rest: the words of the trade, the journal, the ledger, and the questions asked of it.

`call` is the vocabulary: what one call is, what its outcome and standing mean. `clock` is the one way to ask the
time. `error` is the one error a user sees, `system` what the operating system refuses in its words. `paths` says where
the files of a ledger are.

`journal` writes: one append-only JSONL file per process, the source of truth. `journal_line` makes one line of it;
`reserve` and `rescue` are for a disk that is full. `replay` reads journals back, whole lines only, and `columns` says
what each kind of line carries.

`ingest` carries journal lines into the tables of `schema.sql` (through `staging`), byte offset and rows in one
transaction; `presence` says which of the processes that wrote them are still there. `read_lines` judges what was read
of the Usage API, from raw `pages`: `usage_pages` reads one strictly, `usage_reader` all those of a read.

`ledger` opens the file in short windows under a lock beside it, the `sidecar`; `opened` is the only module that knows
DuckDB, `schema` makes the file and brings it forward, `foreign_sql` keeps a user's SQL to it, `refusals` has the words
for what fails. `upkeep` checks and copies it, `rebuild` finds what no journal tells any more. Every question put to it
is one `.sql` file here, runnable as it stands in the duckdb shell; `questions` finds them. `cadence` says how often a
proxy carries its journal in.

`keys` finds framework keys in the environment, else in the `env_file`; `marks` follows the begin and end of runs and
steps. `metrics` reads the users' own `metrics.json`, `metrics_update` fills it (by `json_edit`, every other byte as it
was), `metrics_judge` says what its figures are worth. `prices` are a list of one's own. `audit_words` says verdicts in
words. `masking` keeps secrets out of texts, `harmless` keeps a stranger's text from being obeyed.

Nothing here speaks HTTP, and nothing here imports another folder of this project.
"""
