"""Two books, one verdict: what the meter wrote down against what the organization Usage API bills, minute by minute.

    settings = read_settings(environment)
    with UsageApi(settings, clock=clock) as client, Journal.open(path, mode="audit", clock=clock) as journal:
        report = audit_runs(ledger, request=AuditRequest(runs=("chatdev/r-1",)), settings=settings, client=client,
                            clock=clock, journal=journal)
    report.runs, report.unclaimed, report.exit_code

`audits` is the way in: `audit_runs` reads, judges and journals; `pending_runs` says of each run whether it waits for
an audit, and why not. `choice` is what is asked for (`AuditRequest`), `settings` how strictly (`AuditSettings`,
`read_settings`), `report` what is handed back. `usage_api` asks the Usage API, the only httpx here; `bucket` decides
whether what came back is a good read; `reads` keeps the raw pages and journals the read; `write` journals verdicts,
`detail` is their long form.

`questions` puts the `audit_*.sql` files to the ledger and gives typed rows; `keybook` lays them out by key. `span`
groups calls and run episodes of one key into spans with windows. `judge` gathers what a verdict may rest on, and
`reconcile` reaches it, rule by rule, pure and total: `unit` pairs the models of both books and finds d = bill - book,
`unknown` says what unstated calls may explain, `corridor` whether every token was billed while a call was active,
`history` what a row of reads proves, `placement` (by `place_part`) whether each call fits whole into one minute. `cut`
parts a span where what lies before is closed. `unclaimed` finds the bill outside all spans. `verdict` is the words
that come out.

`explain` shows a run's arithmetic from stored reads; `residual` says where a difference can lie and who could explain
it, with `named_calls` to point at. `certificate` makes one document of a verdict and of what `certificate_evidence`
gathers for it: `certified` calls, marks, names (`certificate_facts`), raw pages (`certificate_pages`).
`certificate_check` derives it again offline: `certificate_chain` lays the chain out, the rules judge it, and
`certificate_found` compares what they find.

Nothing here imports the proxy: the two books meet in the ledger alone.
"""
