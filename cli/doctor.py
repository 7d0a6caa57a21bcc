"""`submeter doctor`: what stands in the way of metering or of an audit, and what to do about each.

Here the checks are put in order and shown; what each looks at is in `checks`.
"""

from __future__ import annotations

import os

import click

from ..data.keys import read_keys
from .checks import (
    Finding,
    State,
    check_admin_key,
    check_ingest,
    check_journal_folder,
    check_keys,
    check_lock,
    check_proxies,
    check_upstream,
    exit_code_of,
)
from .invocation import ENV_FILE, Invocation, json_option, ledger_option, named_environment, pass_invocation
from .output import print_json, say
from .running import running_proxies

DEFAULT_UPSTREAM = "https://api.openai.com"


@click.command()
@click.option(
    "--upstream",
    metavar="URL",
    help=f"The upstream to try. Default: that of a running proxy of this ledger, else {DEFAULT_UPSTREAM}.",
)
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def doctor(context: click.Context, invocation: Invocation, upstream: str | None, as_json: bool) -> None:
    """Check keys, ids, the admin key, the upstream and the ledger; say what to do about each.

    Asks the upstream for a list of models without a key, and the Usage API for one minute. Exit code 0: all is fine;
    1: something is to be mended; 3: something could not be told.

    \b
    Example:
        submeter doctor
    """
    ring = read_keys(os.environ, ENV_FILE)
    proxies = running_proxies(invocation.ledger)
    chosen = upstream or next((proxy.upstream for proxy in proxies if proxy.upstream), None) or DEFAULT_UPSTREAM
    some_id = next((key.api_key_id for key in ring.keys if key.api_key_id), None)
    say("Asking the upstream and the Usage API ...")
    findings = [
        *check_keys(ring),
        check_admin_key(named_environment(), invocation.clock, some_id),
        check_upstream(chosen),
        check_proxies(proxies),
        check_journal_folder(invocation.ledger),
        check_lock(invocation.ledger, invocation.clock),
        check_ingest(invocation.ledger, invocation.clock),
    ]
    if as_json:
        print_json([_record(finding) for finding in findings])
    else:
        for finding in findings:
            _show(finding)
    context.exit(exit_code_of(findings))


def _show(finding: Finding) -> None:
    click.echo(f"{finding.state:<12} {finding.check}: {finding.said}")
    if finding.next_step is not None and finding.state is not State.FINE:
        click.echo(f"{'':<12} -> {finding.next_step}")


def _record(finding: Finding) -> dict[str, str | None]:
    return {
        "check": finding.check,
        "state": finding.state,
        "said": finding.said,
        "next_step": finding.next_step,
    }
