"""Two books, one verdict: what the meter wrote down against what the organization Usage API bills, minute by minute.

    settings = read_settings(environment)
    with UsageApi(settings, clock=clock) as client, Journal.open(path, mode="audit", clock=clock) as journal:
        report = audit_runs(ledger, request=AuditRequest(runs=("chatdev/r-1",)), settings=settings, client=client,
                            clock=clock, journal=journal)
    report.runs, report.unclaimed, report.exit_code

`audits` is the way in: `audit_runs` reads, judges and journals; `pending_runs` says of each run whether it waits for
an audit, and why not. `settings` is what a user may set. `usage_api` asks the Usage API, the only httpx here;
`bucket` decides whether what came back is a good read; `reads` chooses what to ask and keeps the raw pages.

`questions` puts the `audit_*.sql` files to the ledger and gives typed rows. `span` groups calls and run episodes of
one key into spans with windows. `unit` pairs the models of both books and finds d = bill - book; `corridor` asks
whether every token was billed while a call was active; `history` asks what a row of reads proves. `reconcile` puts
them together, rule by rule: pure and total. `verdict` is the words that come out.

Nothing here imports the proxy: the two books meet in the ledger alone.
"""
