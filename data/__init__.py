"""Everything at rest: the words of the trade, the journal, the ledger, and the questions asked of it.

`call` is the vocabulary: what one call is, what its outcome and standing mean. `clock` is the one way to ask the
time. `error` is the one error a user sees. `paths` says where the files of a ledger are.

`journal` writes: one append-only JSONL file per process, the source of truth. `replay` reads journals back, whole
lines only. `ingest` carries journal lines into the tables of `schema.sql`, byte offset and rows in one transaction.
`ledger` opens the file in short windows under a lock beside it; `opened` is the only module that knows DuckDB. Every
question put to the ledger is one `.sql` file here, runnable as it stands in the duckdb shell. `cadence` says how often
a proxy carries its journal in.

`keys` finds framework keys in the environment, `marks` follows the begin and end of runs and steps, `metrics` reads
the users' own `metrics.json`.

Nothing here knows HTTP or the Usage API, and nothing here imports another folder of this project.
"""
