"""`submeter doctor`: what stands in the way of metering or of an audit, and what to do about each.

Here the checks are put in order and shown; what each looks at is in `checks`, the search for key ids in `key_ids`.
"""

from __future__ import annotations

import os
from typing import Any

import click

from ..data.error import SubmeterError
from ..data.keys import read_keys
from .checks import (
    Finding,
    State,
    check_admin_key,
    check_authority,
    check_ingest,
    check_journal_folder,
    check_keys,
    check_lag,
    check_lock,
    check_proxies,
    check_upstream,
    exit_code_of,
)
from .invocation import ENV_FILE, Invocation, json_option, ledger_option, named_environment, pass_invocation
from .key_ids import CANARY_MODEL, find_key_ids
from .output import print_json, say
from .past_the_meter import check_past_the_meter
from .running import running_proxies
from .token_checks import check_tokens

DEFAULT_UPSTREAM = "https://api.openai.com"


@click.command()
@click.option(
    "--upstream",
    metavar="URL",
    help=f"The upstream to try. Default: that of a running proxy of this ledger, else {DEFAULT_UPSTREAM}.",
)
@click.option(
    "--find-key-ids",
    "find_ids",
    is_flag=True,
    help="Only find the ids (key_...) of the framework keys, and print the lines to put into .env.",
)
@click.option(
    "--yes", is_flag=True, help="With --find-key-ids: make one small call with a key, where its id shows no other way."
)
@click.option(
    "--wait",
    is_flag=True,
    help="With --find-key-ids: stay until the Usage API shows that call; minutes, an hour at most.",
)
@click.option(
    "--canary-model",
    metavar="MODEL",
    help=f"With --find-key-ids: the model of that call. Default: {CANARY_MODEL}.",
)
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def doctor(
    context: click.Context,
    invocation: Invocation,
    upstream: str | None,
    find_ids: bool,
    yes: bool,
    wait: bool,
    canary_model: str | None,
    as_json: bool,
) -> None:
    """Check keys, ids, the admin key, the upstream and the ledger; say what to do about each.

    Asks the upstream for a list of models without a key, and the Usage API for one minute and for the last day of each
    key. Exit code 0: all is fine; 1: something is to be mended; 3: something could not be told.

    \b
    Example:
        submeter doctor
        submeter doctor --find-key-ids --wait
    """
    if not find_ids and (yes or wait or canary_model is not None):
        raise SubmeterError(
            "--yes, --wait and --canary-model are for --find-key-ids.",
            "Without it doctor makes no call that costs anything, and waits for nothing.",
            "Try: submeter doctor --find-key-ids --yes --wait",
        )
    ring = read_keys(os.environ, ENV_FILE)
    proxies = running_proxies(invocation.ledger)
    chosen = upstream or next((proxy.upstream for proxy in proxies if proxy.upstream), None) or DEFAULT_UPSTREAM
    if find_ids:
        model = canary_model or CANARY_MODEL
        context.exit(find_key_ids(invocation, upstream=chosen, model=model, yes=yes, wait=wait, as_json=as_json))
    some_id = next((key.api_key_id for key in ring.keys if key.api_key_id), None)
    say("Asking the upstream and the Usage API ...")
    findings = [
        *check_keys(ring),
        check_admin_key(named_environment(), invocation.clock, some_id),
        check_upstream(chosen),
        check_proxies(proxies),
        check_authority(),
        check_journal_folder(invocation.ledger),
        check_lock(invocation.ledger, invocation.clock),
        check_ingest(invocation.ledger, invocation.clock),
        *check_tokens(invocation.ledger, ring, invocation.clock),
        check_lag(invocation.ledger, named_environment(), invocation.clock),
        *check_past_the_meter(ring, invocation.ledger, named_environment(), invocation.clock),
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


def _record(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "state": finding.state,
        "said": finding.said,
        "next_step": finding.next_step,
        "numbers": finding.numbers,
    }
