"""The door: `submeter`, its commands, and what a user sees when something goes wrong.

A `SubmeterError` is three lines on stderr and its exit code; so is what the system refuses. A reader who closes the
pipe, or Ctrl-C, ends the command quietly. What we got wrong raises as it is. No command's own work is here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click

from ..data.error import SubmeterError
from ..data.harmless import harmless
from ..data.system import refused
from .invocation import ledger_option
from .output import say
from .streams import guard_streams

SIGPIPE_EXIT = 128 + 13
"""What a shell reports for a program that wrote to a closed pipe."""
SIGINT_EXIT = 128 + 2
MODULES = {
    "audit": "audit",
    "compare": "compare",
    "demo": "demo",
    "doctor": "doctor",
    "env": "env",
    "explain": "explain",
    "ledger": "ledger",
    "metrics": "metrics",
    "proxy": "proxy",
    "report": "report",
    "run": "run",
    "runs": "runs",
    "sql": "sql",
    "step": "step",
    "steps": "runs",
    "verify": "verify",
}
"""Every command, and the file it is in, which is imported when the command is asked for: starting is most of what many
of them cost."""


class Commands(click.Group):
    """The group of all commands, which knows how each of them may end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*MODULES, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in MODULES and cmd_name not in self.commands:
            self.add_command(getattr(import_module(f".{MODULES[cmd_name]}", __package__), cmd_name))
        return super().get_command(ctx, cmd_name)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _ending():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except SubmeterError as error:
        raise click.exceptions.Exit(_tell(error)) from error
    except BrokenPipeError:
        _leave_quietly(SIGPIPE_EXIT)
    except KeyboardInterrupt:
        _leave_quietly(SIGINT_EXIT)
    except OSError as error:
        raise click.exceptions.Exit(_tell(refused(error))) from error


def _tell(error: SubmeterError) -> int:
    """Three lines; the exit code."""
    for text in (error.what, error.why, error.next_step):
        # What another program said (DuckDB, the system) may have lines of its own; here there are three. But for a
        # line of SQL with a caret below it, which means nothing in any other place.
        words, _, drawing = text.partition("\nLINE ")
        say(" ".join(words.split()) if drawing.rstrip().endswith("^") else " ".join(text.split()))
        if drawing.rstrip().endswith("^"):
            say(harmless(f"LINE {drawing.rstrip()}".expandtabs()))
    return error.exit_code


@click.group(cls=Commands, context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110})
@ledger_option
@click.version_option(package_name="submeter", prog_name="submeter")
def cli() -> None:
    """The independent meter for OpenAI tokens.

    A local proxy writes down the usage of every call, exactly, by framework, run and step. An audit sets the sums
    against the organization Usage API and says, to the token, whether the two agree.

    Exit codes: 0 fine, or the books agree; 1 the books differ; 2 wrong usage; 3 cannot tell yet.

    \b
    Example:
        submeter proxy &
        OPENAI_BASE_URL=http://127.0.0.1:8787/run/r-1/step/1/v1 python my_framework.py
        submeter steps r-1
    """


def whole() -> click.Group:
    """The group with every command imported."""
    for name in MODULES:
        cli.get_command(click.Context(cli), name)
    return cli


def main() -> None:
    """Run the command line and leave the process."""
    guard_streams()
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except SubmeterError as error:
        sys.exit(_tell(error))
    except BrokenPipeError:
        _leave_quietly(SIGPIPE_EXIT)


def _leave_quietly(status: int) -> NoReturn:
    """End without a word, also when the interpreter flushes stdout for the last time."""
    if status == SIGPIPE_EXIT:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)


if __name__ == "__main__":
    main()
