"""`submeter run`: a command of the user's, metered as one run.

A proxy of this ledger that runs is used, else one is started for as long as the command lasts. The command gets the
environment that points it there, its exit code is passed on, and what the run used is said on stderr at the end. What
the command reads and prints is its own. Never here: signals and processes (`spawn`), keys and variables
(`run_environment`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from ..data.call import Edge, MarkedBy
from ..data.error import SubmeterError
from ..data.journal import new_call_id
from ..data.keys import KeyRing, read_keys
from ..data.marks import Mark, check_framework, check_run_id, check_step, run_name
from ..proxy.control_client import read_health, tell
from ..proxy.listen import Listen
from ..proxy.upstream_url import DEFAULT_UPSTREAM, parse_upstream
from .invocation import CANNOT_TELL, ENV_FILE, Invocation, env_option, ledger_option, pass_invocation
from .no_calls import what_to_try
from .output import records, say
from .run_environment import (
    PROFILES,
    Label,
    Metered,
    Profile,
    check_keys_of,
    check_variables,
    child_environment,
    withheld_from,
)
from .running import running_proxies
from .runs import NO_STEP
from .spawn import find_program, run_command, signals_held
from .step import without_key

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """The proxy that this run goes through, ours or one that was running."""

    at: Metered
    mark: Callable[[Mark], object]
    unwritten: Callable[[], SubmeterError | None]
    """After its end: what our own proxy could not write down; None where all is written, or another's was used."""
    own: bool


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--framework", required=True, metavar="F", help="The framework that the command runs.")
@click.option("--run", "run_id", metavar="ID", help="The run's id. Default: a new one.")
@click.option("--step", metavar="S", help="The step that all of the command's calls belong to.")
@env_option
@click.option(
    "--pass",
    "passed",
    multiple=True,
    metavar="NAME",
    help="Hand a secret on that is kept from the command otherwise, such as OPENAI_ADMIN_KEY.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    help="What a known framework needs beyond that: its variables, or --intercept.",
)
@click.option(
    "--intercept",
    is_flag=True,
    help="Meter calls to https://api.openai.com as a proxy with a certificate authority of its own; set no base URL.",
)
@click.option(
    "--upstream",
    metavar="URL",
    help=f"Where calls go; may have a path. Default: a running proxy's, else {DEFAULT_UPSTREAM}.",
)
@click.argument("command", nargs=-1, required=True, metavar="-- CMD...")
@ledger_option
@pass_invocation
@click.pass_context
def run(
    context: click.Context,
    invocation: Invocation,
    framework: str,
    run_id: str | None,
    step: str | None,
    extra: tuple[str, ...],
    passed: tuple[str, ...],
    profile: str | None,
    intercept: bool,
    upstream: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a command and meter its calls as one run.

    Its exit code is passed on (128 + the signal, where one ended it). It finds the proxy in OPENAI_BASE_URL,
    OPENAI_API_BASE and BASE_URL, with --intercept in HTTPS_PROXY; its key in OPENAI_API_KEY (from
    OPENAI_API_KEY_<FRAMEWORK> where that is all there is), the ledger in SUBMETER_LEDGER and the run's name in
    SUBMETER_RUN. The admin key and the keys of other frameworks are taken out of its environment; --pass NAME hands
    one on.

    \b
    Example:
        submeter run --framework chatdev --run r-1 -- python run.py --task calculator
        submeter run --framework ghspec --profile ghspec -- ./run_ghspec.sh
    """
    label = Label(
        framework=check_framework(framework.lower()),
        run_id=check_run_id(run_id if run_id is not None else new_call_id(invocation.clock.now_us())),
        step=check_step(step) if step is not None else None,
    )
    check_variables(extra, "--env")
    check_variables(passed, "--pass")
    chosen = PROFILES[profile] if profile else Profile()
    intercept = intercept or chosen.intercept
    program = find_program(command, os.environ)
    keys = read_keys(os.environ, ENV_FILE)
    check_keys_of(os.environ, label.framework, keys)
    if (odd := without_key(keys, label.framework)) is not None:
        say(f"Note: {odd}.")
    if not intercept and framework.lower() in PROFILES and PROFILES[framework.lower()].intercept:
        say(f"Note: {framework} is known to hard-code its URL; --profile {framework.lower()} meters it all the same.")
    with signals_held(), metering(invocation, keys, label, upstream, intercept) as meter:
        environment = child_environment(
            os.environ,
            ENV_FILE,
            meter.at,
            label=label,
            keys=keys,
            profile=chosen,
            extra=extra,
            withheld=withheld_from(os.environ, label.framework, passed),
            say=say,
        )
        environment["SUBMETER_LEDGER"] = str(invocation.ledger.absolute())
        say(f"Metering {label.name} at {meter.at.url}{'' if meter.own else ', which was running'}.")
        code = _run_marked(invocation, meter, label, lambda: run_command(program, command, environment))
    _say_used(invocation, label, intercept=intercept)
    if (unwritten := meter.unwritten()) is not None:
        say(str(unwritten))
        code = code or CANNOT_TELL
    context.exit(code)


@contextmanager
def metering(
    invocation: Invocation, keys: KeyRing, label: Label, upstream: str | None, intercept: bool
) -> Iterator[Meter]:
    """A proxy for the run: one that runs for this ledger and fits, else one of our own, stopped at the end."""
    address = parse_upstream(upstream) if upstream else None
    for proxy in running_proxies(invocation.ledger):
        if urlsplit(proxy.listen).hostname not in LOOPBACK_HOSTS or (address and proxy.upstream != address.url):
            continue
        health = read_health(proxy.listen)
        if health is None or not knows_key(health, keys, label.framework):
            continue
        at = Metered(url=proxy.listen, intercept_url=health.get("intercept"), authority=health.get("authority"))
        if intercept and at.intercept_url is None:
            continue
        at = at if intercept else replace(at, intercept_url=None)
        yield Meter(at=at, mark=partial(tell, proxy.listen), unwritten=lambda: None, own=False)
        return
    from ..proxy.serve import ProxyServer  # It takes a while to import.

    server = ProxyServer(
        ledger=invocation.ledger,
        listen=Listen(port=0, intercept_port=0 if intercept else None),
        upstream=address or parse_upstream(DEFAULT_UPSTREAM),
        clock=invocation.clock,
        keys=keys,
        mode="run",
    )
    server.start()
    try:
        at = Metered(url=server.url, intercept_url=server.intercept_url, authority=str(server.authority))
        yield Meter(at=at, mark=server.mark, unwritten=lambda: server.unwritten, own=True)
    finally:
        server.stop()


def knows_key(health: dict[str, Any], keys: KeyRing, framework: str) -> bool:
    """Whether a running proxy would write the framework's key id as we would."""
    key = keys.of_framework(framework)
    if key is None:
        api_key_id = keys.id_of_tokens(framework)
        return api_key_id is None or health.get("token_ids", {}).get(framework.lower()) == api_key_id
    return [key.framework, key.fingerprint, key.api_key_id] in health.get("keys", [])


def _run_marked(invocation: Invocation, meter: Meter, label: Label, act: Callable[[], int]) -> int:
    """Declare the run, and the step where one is named, around the command; its status is from its exit code."""

    def mark(kind: Literal["run", "step"], edge: Edge, status: str | None = None) -> None:
        meter.mark(
            Mark(
                kind=kind,
                framework=label.framework,
                run_id=label.run_id,
                step=label.step if kind == "step" else None,
                edge=edge,
                by=MarkedBy.CLI,
                marked_at=invocation.clock.now_us(),
                status=status,
            )
        )

    kinds: tuple[Literal["run", "step"], ...] = ("run",) if label.step is None else ("run", "step")
    for kind in kinds:
        mark(kind, Edge.BEGIN)
    status = "failed"
    try:
        code = act()
        status = "success" if code == 0 else "failed"
    finally:
        # A running proxy may be gone by now; the command's exit code is passed on all the same.
        with suppress(SubmeterError) if not meter.own else _nothing():
            for kind in reversed(kinds):
                mark(kind, Edge.END, status)
    return code


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _say_used(invocation: Invocation, label: Label, *, intercept: bool) -> None:
    """What the run used so far, and each step of it where there are any."""
    try:
        ledger = invocation.open_ledger()
        rows = records(ledger.query("list_steps", {"framework": label.framework, "run_id": label.run_id}))
    except SubmeterError as error:
        say(str(error))
        return
    if any(row["step"] is not None for row in rows):
        for row in rows:
            step = NO_STEP if row["step"] is None else f"step {row['step']}"
            say(f"  {step}: {used_text([row])}")
    if not any(row["calls"] for row in rows):
        for line in what_to_try(intercept=intercept):
            say(line)
    say(f"{label.name}: {used_text(rows)}. See: submeter steps {run_name(label.framework, label.run_id)}")


def used_text(rows: list[dict[str, Any]]) -> str:
    """`12 calls, 3,456 input tokens (1,024 cached), 789 output tokens, 0 unknown`; without a call no tokens."""
    calls = sum(row["calls"] or 0 for row in rows)
    if any(row["calls"] is None and not row["ambiguous"] for row in rows):
        return "no meter was watching all of it"
    told = {
        name: [row[name] for row in rows if row[name] is not None]
        for name in ("input_tokens", "cached_input_tokens", "output_tokens")
    }
    sums = {name: f"{sum(counts):,}" if counts else "-" for name, counts in told.items()}
    beside = [
        f"{count:,} {name}"
        for name in ("unknown", "optional", "ambiguous")
        if (count := sum(row[name] or 0 for row in rows)) or name == "unknown"
    ]
    tokens = [
        f"{sums['input_tokens']} input tokens ({sums['cached_input_tokens']} cached)",
        f"{sums['output_tokens']} output tokens",
    ]
    return ", ".join([f"{calls:,} call{'' if calls == 1 else 's'}", *(tokens if calls else ()), *beside])
