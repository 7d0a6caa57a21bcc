"""Two books, one verdict: what the meter wrote down against what the organization Usage API bills, minute by minute.

    settings = read_settings(environment)
    with UsageApi(settings, clock=clock) as client, Journal.open(path, mode="audit", clock=clock) as journal:
        report = audit_runs(ledger, request=AuditRequest(runs=("chatdev/r-1",)), settings=settings, client=client,
                            clock=clock, journal=journal)
    report.runs, report.unclaimed, report.exit_code

`audits` is the way in: `audit_runs` reads, judges and journals; `pending_runs` says of each run whether it waits for
an audit, and why not. `choice` is what is asked for (`AuditRequest`), `settings` how strictly (`AuditSettings`,
`read_settings`), `schedule` when a run is to be read again, `report` what is handed back. `usage_api` asks the Usage
API, the only httpx here; `bucket` names the one reader of its pages, which is in `data`; `reads` keeps the raw pages
and journals the read; `write` journals verdicts, `detail` is their long form.

`questions` puts the `audit_*.sql` files to the ledger and gives typed rows, `episodes` those of runs, `said_before`
those of earlier verdicts; `look` lays them out by key: run windows, chains (`chain`, `window`) and what was said of
them, and `remembered` keeps what it says while nothing can have changed. `judge` gathers what the verdicts of a chain
may rest on (`latest_reads` and `rests_on` tell where nothing is new), and `reconcile` reaches them, rule by rule, pure
and total: `history` tells which minutes are confirmed, `pair` which names are one model, `facts` what is learned of a
key from all of it, `drawn` which tokens image calls told, `unknown` what unstated calls may explain; `solve` sets the
two books (`unit`) against each other, model by model, by the `gate` at every minute and the `least` amount; `case` is
one run against one book, `concern` what of a chain concerns it, `finding` what comes out, in the words of `verdict`.
`placement` (by `place_chain`) is evidence beside it. `unclaimed` finds the bill that reaches no run.

`explain` shows a run's arithmetic from stored reads; `residual` says where a difference can lie and who could explain
it, with `named_calls` to point at. `certificate` makes one document of a verdict and of what `certificate_evidence`
gathers for it: `certified` calls, marks, names (`certificate_facts`), raw pages (`certificate_pages`).
`certificate_check` derives it again offline: `certificate_chain` lays the chain out, the rules judge it, and
`certificate_found` compares what they find. The rules and why they are safe: docs/design/audit.md.

Beside the audit, for `submeter doctor`: `key_ids` finds the id of a key, `lag` how late the bill has been.

Nothing here imports the proxy: the two books meet in the ledger alone.
"""
