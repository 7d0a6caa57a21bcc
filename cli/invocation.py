"""What every command is given: the ledger it speaks of and the clock it asks, and the options they share.

Nothing here opens a ledger before a command asks for it, and DuckDB is imported only then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ..data.clock import Clock, SystemClock
from ..data.env_file import read_env_file
from ..data.error import SubmeterError
from ..data.paths import DEFAULT_LEDGER, check_ledger_path, journal_folder, ledger_path
from .output import say

if TYPE_CHECKING:
    from ..data.ledger import Ledger

ENV_FILE = Path(".env")
"""Where framework keys and the admin key are looked for when the environment has none."""

FINE = 0
DIFFER = 1
WRONG_USAGE = 2
CANNOT_TELL = 3

Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of the command line."""

    ledger: Path = field(default_factory=ledger_path)
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        check_ledger_path(self.ledger)

    def closed_ledger(self) -> Ledger:
        """The ledger as it is, not even looked into. Raises `SubmeterError` where there is none."""
        from ..data.ledger import Ledger  # DuckDB takes longer to import than `--help` takes to print.

        if not self.ledger.exists() and not journal_folder(self.ledger).is_dir():
            raise SubmeterError(
                f"There is no ledger at {self.ledger}",
                "Neither the file nor its journal folder is there, so nothing has been metered into it.",
                "Start metering with: submeter proxy; or name another ledger with --ledger PATH.",
                exit_code=WRONG_USAGE,
            )
        return Ledger(self.ledger, clock=self.clock)

    def open_ledger(self, *, as_it_is: bool = False) -> Ledger:
        """The ledger, brought up to date with every journal beside it. Raises `SubmeterError` where there is none.

        With `as_it_is`, a ledger that cannot be written to (a full disk) will do as it is, and that is said.
        """
        ledger = self.closed_ledger()
        try:
            turn = ledger.ingest()
        except SubmeterError as error:
            if not (as_it_is and error.exit_code == CANNOT_TELL and self.ledger.exists()):
                raise
            say(f"Note: {error.what}; the newest calls still wait in the journal. {error.why}")
            return ledger
        if turn.held:
            holder = f"process {turn.held_by}" if turn.held_by else "another program"
            say(f"Note: {holder} holds {self.ledger}; the newest calls still wait in the journal.")
        return ledger


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def named_environment() -> dict[str, str]:
    """The environment, and what `./.env` names that it does not: for an audit, never for a proxy."""
    return {name: value for name, value in read_env_file(ENV_FILE).items() if value} | dict(os.environ)


def _choose_ledger(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        known = context.find_object(Invocation)
        context.obj = Invocation(ledger=value) if known is None else replace(known, ledger=value)


def ledger_option(command: Command) -> Command:
    """Add `--ledger`, which may stand before the command's name or after it."""
    return click.option(
        "--ledger",
        type=click.Path(path_type=Path),
        metavar="PATH",
        callback=_choose_ledger,
        expose_value=False,
        help=f"The ledger. Default: the variable SUBMETER_LEDGER, else ./{DEFAULT_LEDGER}.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`: the same data as one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the data as JSON.")(command)


def env_option(command: Command) -> Command:
    """`--env NAME`, as `extra`: further variables that a program is pointed by."""
    return click.option(
        "--env",
        "extra",
        multiple=True,
        metavar="NAME",
        help="A further variable to hold the base URL; with --intercept the only kind.",
    )(command)
