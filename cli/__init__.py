"""Words into calls: the `submeter` command.

`main` is the door: it joins the commands, and turns a `SubmeterError` into three lines and an exit code. One file per
command or group of commands: `proxy`, `step`, `runs`, `sql`, `audit`, `metrics`, `ledger`, `doctor`, `demo`.
`invocation` is what every command is given (ledger and clock) and the options they share; `output` is the only place
that prints data.

Data goes to stdout, talk to stderr. A count the provider did not say is shown as `-`, never as 0. Nothing is decided
here: sums come from the ledger's SQL, verdicts from the audit. What is heavy (the lane, DuckDB, httpx, rich) is
imported when a command runs, so that `--help` and a step mark are quick.
"""
