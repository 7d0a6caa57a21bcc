"""A user's command as our child: started as if we were not there, told every signal we are told, and waited for.

The command inherits stdin, stdout and stderr as they are. Signals are blocked here and taken one by one: what another
process sent us goes on to the child; what the terminal sent (Ctrl-C) the child has already had, as it is in our
process group, so it is not given a second one. Never here: anything of a run or a proxy.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..data.error import SubmeterError

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""What shells report."""
_BY_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def find_program(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """The path of the command's program; a `SubmeterError` with the shell's exit code where it cannot be run."""
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is not None:
        return program
    there = os.path.sep in command[0] and os.path.exists(command[0])
    raise SubmeterError(
        f"The command {command[0]!r} cannot be run.",
        "It may not be executed." if there else "There is no such program here or on the PATH.",
        "Put the command and its words after two dashes: submeter run --framework chatdev -- python run.py",
        exit_code=NOT_EXECUTABLE if there else NOT_FOUND,
    )


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold the signals that `run_command` passes on, for threads begun inside too: no other thread may take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_command(program: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command to its end and give its exit code; 128 + the signal where one ended it.

    Call it inside `signals_held`. The child gets the signal mask and dispositions of a fresh shell's child.
    """
    ignored = [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
    fresh = [number for number in (*FORWARDED, signal.SIGCHLD, *_IGNORED_BY_PYTHON) if number not in ignored]
    try:
        pid = os.posix_spawn(program, list(command), dict(environment), setsigmask=(), setsigdef=fresh)
    except OSError as error:
        raise SubmeterError(
            f"The command {command[0]!r} cannot be run.",
            f"{error.strerror}: {program}.",
            "A script needs a first line such as #!/bin/sh, or its interpreter before it.",
            exit_code=NOT_EXECUTABLE,
        ) from error
    while True:
        number, by_terminal = _next_signal()
        if number != signal.SIGCHLD:
            if not by_terminal:
                os.kill(pid, number)
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _next_signal() -> tuple[int, bool]:
    """The next signal, and whether the terminal sent it, so to the whole process group."""
    waited_for = {*FORWARDED, signal.SIGCHLD}
    if hasattr(signal, "sigwaitinfo"):
        told = signal.sigwaitinfo(waited_for)
        return told.si_signo, told.si_code > 0 and told.si_signo in _BY_TERMINAL
    number = signal.sigwait(waited_for)
    return number, number in _BY_TERMINAL and sys.stdin.isatty()
