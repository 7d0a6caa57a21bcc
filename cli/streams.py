"""stdin, stdout and stderr of this process, so that each of their faults is one a user is told of.

What cannot be written to stdout is the answer itself: a `SubmeterError`, exit code 3, because 1 says that books
differ. A reader who left is a `BrokenPipeError` as ever. What cannot be written to stderr is only talk, and is dropped.
What strangers wrote is made harmless (`harmless_text`), whoever prints it. Never here: what a command says.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from ..data.error import SubmeterError
from .harmless_text import HarmlessText
from .invocation import CANNOT_TELL

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Stdout(io.FileIO):
    """Descriptor 1, or none: its first fault is told, and what is still to be written then is dropped."""

    def __init__(self, *, closed_by_caller: bool) -> None:
        super().__init__(1, "wb", closefd=False)
        self._lost = False
        self._closed_by_caller = closed_by_caller

    def write(self, data: Buffer, /) -> int:
        if self._lost:
            return memoryview(data).nbytes
        if self._closed_by_caller:
            raise self._fault("It was closed when submeter began")
        try:
            while (taken := super().write(data)) is None:
                # Another program made it non-blocking, and it is full now.
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._fault(f"The system says: {error.strerror or error}") from error
        return taken

    def _fault(self, why: str) -> SubmeterError:
        self._lost = True
        return SubmeterError(
            "The answer cannot be written to stdout.",
            f"{why}.",
            "Make room or name another file, then run the same command again.",
            exit_code=CANNOT_TELL,
        )


class _Stderr(io.FileIO):
    """Descriptor 2: a fault of it changes nothing."""

    def __init__(self) -> None:
        super().__init__(2, "wb", closefd=False)

    def write(self, data: Buffer, /) -> int:
        try:
            taken = super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            taken = None
        return memoryview(data).nbytes if taken is None else taken


def guard_streams() -> None:
    """Put these in the place of the interpreter's own, once, before anything is written or opened."""
    gone = [number for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)) if stream is None]
    for _ in gone:
        # Else the next file that is opened, such as a journal, would be 1, and be written into.
        os.open(os.devnull, os.O_RDWR)
    if 0 in gone:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = _text(_Stdout(closed_by_caller=1 in gone), sys.stdout)
    sys.stderr = _text(_Stderr(), sys.stderr, errors="backslashreplace")


def _text(raw: io.FileIO, before: TextIO | None, errors: str = "strict") -> io.TextIOWrapper:
    """A text stream onto `raw` with the encoding and buffering of the one before; None: there was none."""
    buffer = io.BufferedWriter(raw)
    if not isinstance(before, io.TextIOWrapper):
        return HarmlessText(buffer, "utf-8", errors, line_buffering=True)
    return HarmlessText(
        buffer, before.encoding, before.errors, line_buffering=before.line_buffering, write_through=before.write_through
    )
