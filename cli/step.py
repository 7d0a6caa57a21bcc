"""`submeter step begin|end`: an orchestrator's mark between two steps; and how a mark of a step or run is told.

The mark goes to the running proxies of this ledger, so that calls take the step from now on. Where none runs it goes
into a journal file of its own, and the step is in the ledger all the same. Nothing here waits or tries again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from ..data.call import Edge, MarkedBy
from ..data.error import SubmeterError
from ..data.journal import Journal
from ..data.keys import KeyRing, read_keys
from ..data.marks import Mark, check_framework, check_step, run_name
from ..proxy.control import checked_status, named_run
from ..proxy.control_client import tell
from .invocation import ENV_FILE, Invocation, ledger_option, pass_invocation
from .marked_before import word_on_end
from .output import say
from .running import running_proxies


@click.group()
def step() -> None:
    """Mark where steps begin and end.

    A call without a label of its own takes the open step of the one open run of its framework. Steps that overlap
    need a label in the URL or a header instead.

    \b
    Example:
        submeter step begin 1 --run chatdev/r-1
        submeter step end 1 --run chatdev/r-1 --status success
    """


def _mark_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        ledger_option,
        click.option("--status", metavar="WORD", help="Your own word for how it stands, such as success."),
        click.option("--framework", metavar="F", help="The run's framework; or write the run as F/ID."),
        click.option("--run", "run", required=True, metavar="ID", help="The run, as ID or FRAMEWORK/ID."),
        click.argument("step", metavar="STEP"),
    ):
        command = option(command)
    return command


@step.command()
@_mark_options
@pass_invocation
def begin(invocation: Invocation, step: str, run: str, framework: str | None, status: str | None) -> None:
    """Begin a step; a step of the same run that is still open ends now.

    \b
    Example:
        submeter step begin 4.7 --run r-1 --framework chatdev
    """
    mark = read_mark(invocation, Edge.BEGIN, run, framework, status, step=step)
    tell_mark(invocation, mark)
    say_key_of(mark.framework)


@step.command()
@_mark_options
@pass_invocation
def end(invocation: Invocation, step: str, run: str, framework: str | None, status: str | None) -> None:
    """End a step.

    \b
    Example:
        submeter step end 4.7 --run r-1 --framework chatdev --status success
    """
    tell_end(invocation, read_mark(invocation, Edge.END, run, framework, status, step=step))


def say_key_of(framework: str | None) -> None:
    """Say what is wrong with the key of a framework of which something begins; the mark is kept, for it is a fact."""
    try:
        keys = read_keys(os.environ, ENV_FILE)
        keys.check_apart(framework)
    except SubmeterError as error:
        # No proxy starts with such keys.
        say(f"Note: {error.what} {error.next_step}")
        return
    if (odd := without_key(keys, framework)) is not None:
        say(f"Note: {odd}. The mark is kept.")


def without_key(keys: KeyRing, framework: str | None) -> str | None:
    """That other frameworks have a key and this one has neither key nor id, in words; None where it is not so."""
    if framework is None or not keys.keys or keys.of_framework(framework) or keys.id_of_tokens(framework):
        return None
    return (
        f"no key is set for framework {framework}; there are keys for {', '.join(key.framework for key in keys.keys)}"
    )


def tell_end(invocation: Invocation, mark: Mark) -> None:
    """Tell the mark that ends a step or run, and say so where that never began or had ended already."""
    odd = word_on_end(invocation.ledger, mark)
    tell_mark(invocation, mark)
    if odd is not None:
        say(f"Note: {_marked(mark)} is ended, but {odd}, as far as its journals tell. The mark is kept.")


def tell_mark(invocation: Invocation, mark: Mark) -> None:
    """Tell the mark to every running proxy of the ledger, or write it down where none runs."""
    proxies = running_proxies(invocation.ledger)
    what = f"{mark.edge} of {_marked(mark)}"
    if not proxies:
        with Journal.open(invocation.ledger, mode="mark", clock=invocation.clock) as journal:
            journal.begin()
            journal.append(mark.kind, mark.line())
        say(f"Marked the {what} in {invocation.ledger}; no proxy of this ledger runs here.")
        return
    for number, proxy in enumerate(proxies):
        # All of them label calls by it; written twice it would be two visits.
        tell(proxy.listen, mark, journal=number == 0)
    say(f"Marked the {what} at {', '.join(proxy.listen for proxy in proxies)}.")


def _marked(mark: Mark) -> str:
    of_step = "" if mark.step is None else f"step {mark.step} of "
    return of_step + run_name(mark.framework, mark.run_id)


def read_mark(
    invocation: Invocation, edge: Edge, run: str, framework: str | None, status: str | None, *, step: str | None = None
) -> Mark:
    """The mark that a user means, of a step where one is named, else of the run, made now."""
    named, run_id = named_run(run, framework if framework is None else check_framework(framework))
    return Mark(
        kind="run" if step is None else "step",
        framework=named,
        run_id=run_id,
        step=None if step is None else check_step(step),
        edge=edge,
        by=MarkedBy.CLI,
        marked_at=invocation.clock.now_us(),
        status=checked_status(status),
    )
