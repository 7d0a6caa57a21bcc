"""`submeter audit`: the two books against each other, now or with `--wait` until there is a verdict.

Here a request is read, and a report shown; who is read, when and what it means is decided in the audit.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..data.error import SubmeterError
from ..data.journal import Journal
from ..data.keys import KEY_ID, KeyRing, read_keys
from ..data.paths import reads_folder
from .certificate_file import WrittenCertificate, refuse_early, write_certificate
from .garbage import seldom_collected
from .gate import Astray, calls_astray, gate_lines, gate_summary, is_open
from .invocation import (
    CANNOT_TELL,
    ENV_FILE,
    FINE,
    Invocation,
    json_option,
    ledger_option,
    named_environment,
    pass_invocation,
)
from .output import duration, print_json, print_table, say
from .times import minutes, moment
from .verdicts import (
    print_report,
    print_report_json,
    print_report_log,
    standing_record,
    standing_text,
)
from .waiting import some_of, wait_until

if TYPE_CHECKING:
    from ..audit.choice import AuditRequest
    from ..audit.report import AuditReport
    from ..audit.settings import AuditSettings
    from ..data.ledger import Ledger

LOOK_AGAIN_S = 300
"""Pause before another look at a run that must end first."""
SOONEST_S = 60
"""Least pause between two looks, so that a Usage API in trouble is not pressed; 1 s where the rules are off."""


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--framework", metavar="F", help="Only runs of this framework.")
@click.option("--pending", is_flag=True, help="Runs that are not final yet; this is also meant without any RUN.")
@click.option("--from", "from_us", callback=moment, metavar="TIME", help="With --to: all there was in a period.")
@click.option(
    "--to", "to_us", callback=moment, metavar="TIME", help="The end of the period, such as 2025-10-28T18:00Z."
)
@click.option(
    "--min-age",
    "min_age_min",
    callback=minutes("m"),
    default="30m",
    show_default=True,
    metavar="AGE",
    help="Leave out runs that ended later than this and were never read; a bare number is minutes.",
)
@click.option(
    "--max-age",
    "max_age_min",
    callback=minutes("h"),
    default="24h",
    show_default=True,
    metavar="AGE",
    help="Leave out runs that ended before this and were never read; a bare number is hours.",
)
@click.option(
    "--shift",
    "shift_min",
    callback=minutes("m"),
    default="5m",
    show_default=True,
    metavar="MINUTES",
    help="How long after its end a call may still be billed.",
)
@click.option(
    "--settle",
    "settle_min",
    callback=minutes("m"),
    metavar="MINUTES",
    help="How long after a window's end the last read is. Default: SUBMETER_SETTLE_MIN, else 60.",
)
@click.option("--wait", is_flag=True, help="Stay until there is a verdict, reading again when it is time.")
@click.option("--force", is_flag=True, help="Read final verdicts again, too.")
@click.option(
    "--certificate",
    "certificate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With one RUN whose verdict is final: write what `submeter verify` derives it from again, offline.",
)
@click.option("--log", "as_log", is_flag=True, help="One line for each run and one for all, with the time: for a log.")
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def audit(
    context: click.Context,
    invocation: Invocation,
    runs: tuple[str, ...],
    framework: str | None,
    pending: bool,
    from_us: int | None,
    to_us: int | None,
    min_age_min: int,
    max_age_min: int,
    shift_min: int,
    settle_min: int | None,
    wait: bool,
    force: bool,
    certificate: Path | None,
    as_log: bool,
    as_json: bool,
) -> None:
    """Set the book against the organization Usage API, to the token.

    A verdict needs at least two equal reads, 30 minutes apart, the last one an hour after the run (settings:
    RECONCILIATION_MIN_STABLE_VERIFICATIONS, RECONCILIATION_VERIFICATION_INTERVAL_MIN, SUBMETER_SETTLE_MIN), so the
    first audit of a run is mostly `pending`: run it again, from cron with --pending, or with --wait.

    With --pending, "No runs need reconciliation" is said only when every run has a final verdict; until then it is
    said how many are not ended, too young, not due yet, or too old and never read, and what to do about each.

    Exit code 0: all verified; 1: books differ; 3: cannot tell yet, or a run has no final verdict.

    \b
    Example:
        submeter audit chatdev/r-1 --wait
        submeter audit chatdev r-1
        submeter audit chatdev/r-1 --wait --certificate r-1.certificate.json
        submeter audit --pending --min-age 30m --max-age 24h --log
        submeter audit --from 2025-10-28T09:00Z --to 2025-10-28T18:00Z
    """
    from ..audit.choice import AuditRequest
    from ..audit.settings import ADMIN_KEYS, read_settings
    from ..audit.verdict import DIFFER

    request = AuditRequest(
        runs=runs,
        framework=framework.lower() if framework else None,
        pending=pending,
        from_us=from_us,
        to_us=to_us,
        min_age_min=min_age_min,
        max_age_min=max_age_min,
        shift_min=shift_min,
        settle_min=settle_min,
        force=force,
    )
    if certificate is not None:
        refuse_early(certificate, request)
    settings = read_settings(named_environment())
    if settings.admin_key is None:
        raise SubmeterError(
            "No admin key is set, so the Usage API cannot be read.",
            f"Looked for {', '.join(ADMIN_KEYS)} in the environment and in ./.env.",
            f"Set {ADMIN_KEYS[0]} to a key that may read usage, then check it with: submeter doctor",
            exit_code=CANNOT_TELL,
        )
    ledger = invocation.open_ledger()
    request = replace(request, runs=in_older_words(ledger, request.runs))
    report = run_audit(invocation, ledger, request, settings, wait=wait)
    written: WrittenCertificate | None = None
    refused: SubmeterError | None = None
    if certificate is not None:
        try:
            written = write_certificate(certificate, invocation, ledger, request, settings, report.exit_code)
        except SubmeterError as error:
            refused = error
    if as_json:
        named = {"file": str(written.file), "sha256": written.sha256} if written else None
        print_report_json(report, {} if certificate is None else {"certificate": named})
    else:
        gate: Astray | None = None
        if request.of_pending:
            gate = calls_astray(ledger, request.framework) if report.unlabelled else Astray()
        if as_log:
            print_report_log(report, now_us=invocation.clock.now_us(), gate=gate, framework=request.framework)
        else:
            print_report(report, gate=gate, framework=request.framework)
        if written:
            click.echo(f"certificate {written.file}  sha256 {written.sha256}")
    if as_log and not refused:
        context.exit(report.exit_code)
    if any(line.verdict == "not_permitted" for line in report.runs):
        say("The admin key may not read usage; see what is the matter with: submeter doctor")
    differing = [line for line in report.runs if line.run is not None and line.verdict in DIFFER]
    if differing:
        say(f"Where it lies and who could explain it: submeter explain {shlex.quote(differing[0].name)}")
    if refused:
        raise refused
    context.exit(report.exit_code)


def in_older_words(ledger: Ledger, runs: tuple[str, ...]) -> tuple[str, ...]:
    """The runs as named; `chatdev r-1`, as the users' older script was told, is the run chatdev/r-1 where it is one."""
    if len(runs) != 2 or "/" in runs[0]:
        return runs
    framework, run_id = runs[0].lower(), runs[1]
    found = ledger.query("run_names", {"name": f"{framework}/{run_id}", "run_id": run_id}).rows
    named = ledger.query("run_names", {"name": runs[0], "run_id": runs[0]}).rows
    return (f"{framework}/{run_id}",) if (framework, run_id) in found and not named else runs


def run_audit(
    invocation: Invocation, ledger: Ledger, request: AuditRequest, settings: AuditSettings, *, wait: bool
) -> AuditReport:
    """One audit, or, with `wait`, as many as it takes until nothing more is to be waited for."""
    from ..audit.audits import audit_runs
    from ..audit.usage_api import UsageApi

    clock, asked = invocation.clock, request
    with (
        seldom_collected(),
        UsageApi(settings, clock=clock) as client,
        Journal.open(invocation.ledger, mode="audit", clock=clock) as journal,
    ):
        tell_new_ids(ledger, journal, read_keys(os.environ, ENV_FILE))
        while True:
            report = audit_runs(ledger, request=request, settings=settings, client=client, clock=clock, journal=journal)
            again_us = _next_look_us(report, clock.now_us(), settings) if wait else None
            if again_us is None:
                return report if request is asked else _with_skipped(report, invocation, ledger, asked, settings)
            waiting = [line.name for line in report.runs if not line.final]
            wait_until(again_us, what=some_of(waiting), summary=report.summary, clock=clock)
            # The runs of the first look, all of them: those that are final meanwhile stand in the last report too.
            named = tuple(line.name for line in report.runs if line.run is not None)
            request = replace(request, runs=named or request.runs, pending=False, force=False)


def _with_skipped(
    report: AuditReport, invocation: Invocation, ledger: Ledger, request: AuditRequest, settings: AuditSettings
) -> AuditReport:
    """The last of several reports, with where the runs stand by now that the first one passed over."""
    from ..audit.audits import pending
    from ..audit.reads import PageStore

    if not request.of_pending:
        return report
    store = PageStore(reads_folder(invocation.ledger))
    now = pending(ledger, request=request, settings=settings, clock=invocation.clock, reads_folder=store)
    audited = {line.run for line in report.runs}
    return replace(report, skipped=tuple(each for each in now.standings if each.run not in audited))


def tell_new_ids(ledger: Ledger, journal: Journal, keys: KeyRing) -> None:
    """Write down the ids that are configured by now for keys whose calls were metered without one.

    A proxy does so at the first call of a key; here no further call is needed to audit those that were.
    """
    if not keys.token_ids and not any(key.api_key_id for key in keys.keys):
        return
    without_id = {(row[0], row[1]) for row in ledger.query("keys_in_use").rows if row[0] and row[2] is None}
    for fingerprint, framework in sorted(without_id, key=str):
        key = keys.find(fingerprint)
        api_key_id = keys.id_of_tokens(framework) if key is None else key.api_key_id
        if KEY_ID.fullmatch(api_key_id or ""):
            journal.begin()
            named = framework if key is None else key.framework
            journal.append("key", {"key_fingerprint": fingerprint, "framework": named, "api_key_id": api_key_id})


def _next_look_us(report: AuditReport, now_us: int, settings: AuditSettings) -> int | None:
    """When to look again; None where every verdict is final, or only the user can bring it further."""
    open_lines = [line for line in report.runs if not line.final and line.verdict != "not_permitted"]
    if not open_lines:
        return None
    soonest_us = now_us + (SOONEST_S if settings.interval_min else 1) * 1_000_000
    later_us = now_us + LOOK_AGAIN_S * 1_000_000
    # What could not be read is not tried again at once either: the Usage API is in trouble.
    times = [later_us if line.verdict == "unavailable" else line.next_read_us or later_us for line in open_lines]
    periods = [line for line in open_lines if line.run is None]
    if len(periods) == len(open_lines):
        # A period that lies ahead in part ends when its time has come, and no sooner.
        times = [max(us, line.parts[0].window.end_us) for us, line in zip(times, periods, strict=True)]
    return max(soonest_us, min(times))


def show_pending(invocation: Invocation, ledger: Ledger, framework: str | None, as_json: bool) -> int:
    """Print where every run stands and what is to do; the exit code, 3 while any lacks a final verdict."""
    from ..audit.audits import pending
    from ..audit.choice import AuditRequest
    from ..audit.reads import PageStore
    from ..audit.settings import read_settings

    framework = framework.lower() if framework else None
    settings = read_settings(named_environment())
    with seldom_collected():
        found = pending(
            ledger,
            request=AuditRequest(framework=framework, pending=True),
            settings=settings,
            clock=invocation.clock,
            reads_folder=PageStore(reads_folder(invocation.ledger)),
        )
    standings = found.standings
    astray = calls_astray(ledger, framework) if found.unlabelled else Astray()
    if as_json:
        print_json([standing_record(standing) for standing in standings])
    else:
        print_table(
            ["run", "age", "pending", "why", "attempts"],
            [
                [
                    standing.name,
                    None if standing.age_min is None else duration(standing.age_min * 60),
                    standing.needs_audit,
                    standing_text(standing),
                    standing.attempts,
                ]
                for standing in standings
            ],
            counts=["attempts"],
        )
    talk = say if as_json else click.echo
    for line in gate_lines(standings, astray, framework):
        talk(line)
    if not as_json:
        click.echo(gate_summary(standings, astray, settings.timing))
    return FINE if is_open(standings, astray, settings.timing) else CANNOT_TELL
