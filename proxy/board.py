"""Memory that the workers of one proxy share: one text that any of them may replace, and a row of counts for each.

    board = Board.make()              # where the workers are started
    board = Board(descriptor)         # in a worker, which was handed it
    with board.held():                # nobody else replaces the text meanwhile
        board.write(text)
    board.read()                      # the text, if it is not the one that was read or written here last; else None
    board.row(number).settled += 1

It is a file without a name, mapped, so that to look whether anything is new costs no call of the system, and what one
worker has written stands for all the others when `write` returns. A new text is written beside the old one before it
counts: a worker that is killed while it writes leaves the old one whole. Never here: what the text says.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

HEAD_BYTES = 4096
TEXT_BYTES_MAX = 32 * 1024 * 1024
"""Of this only what a text really has takes memory."""
WORKERS_MAX = 32
_TRIES = 3
_VERSION, _LENGTHS, _CHECKS, _ROWS = 0, 1, 3, 8
"""Where the numbers of the head stand, each of eight bytes: texts so far, both lengths and checksums, the rows."""
_ROW_NUMBERS = 8


class Board:
    """The shared memory, as one process has it. For one thread of it."""

    def __init__(self, descriptor: int, text_bytes_max: int = TEXT_BYTES_MAX) -> None:
        """`descriptor`: of the file; it is this object's from now on. `text_bytes_max`: what it was made with."""
        self.descriptor = descriptor
        self._text_bytes_max = text_bytes_max
        self._map = mmap.mmap(descriptor, HEAD_BYTES + 2 * text_bytes_max)
        self._numbers = memoryview(self._map)[:HEAD_BYTES].cast("q")
        self._seen = 0

    @classmethod
    def make(cls, text_bytes_max: int = TEXT_BYTES_MAX) -> Board:
        """An empty one."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("submeter")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, HEAD_BYTES + 2 * text_bytes_max)
        return cls(descriptor, text_bytes_max)

    def close(self) -> None:
        """Let go of the file; the counts can be read on. Twice is once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process replaces the text for the length of a block; one that is killed in it lets go."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def read(self) -> bytes | None:
        """The text that stands, if it is not the one this process read or wrote last."""
        if self._numbers[_VERSION] == self._seen:
            return None
        for _ in range(_TRIES):
            text = self._text()
            if text is not None:
                return text
        with self.held():
            return self._text()

    def _text(self) -> bytes | None:
        """The text that stands; None where it was replaced twice while it was read, or is not all here yet."""
        version = self._numbers[_VERSION]
        half = version & 1
        begin = HEAD_BYTES + half * self._text_bytes_max
        text = self._map[begin : begin + self._numbers[_LENGTHS + half]]
        if self._numbers[_VERSION] != version or zlib.crc32(text) != self._numbers[_CHECKS + half]:
            return None
        self._seen = version
        return text

    def write(self, text: bytes) -> None:
        """Replace the text; inside `held`. Raises `ValueError` for one that is too long."""
        if len(text) > self._text_bytes_max:
            raise ValueError(f"a text of {len(text)} bytes")
        version = self._numbers[_VERSION] + 1
        half = version & 1
        begin = HEAD_BYTES + half * self._text_bytes_max
        self._map[begin : begin + len(text)] = text
        self._numbers[_LENGTHS + half] = len(text)
        self._numbers[_CHECKS + half] = zlib.crc32(text)
        self._numbers[_VERSION] = self._seen = version

    def row(self, number: int) -> Row:
        """The counts of one worker."""
        if not 0 <= number < WORKERS_MAX:
            raise ValueError(f"there is no worker {number}")
        at = _ROWS + number * _ROW_NUMBERS
        return Row(self._numbers[at : at + _ROW_NUMBERS])

    def rows(self) -> list[Row]:
        """Those of all workers that there could be."""
        return [self.row(number) for number in range(WORKERS_MAX)]


class Row:
    """One worker's counts; it alone writes them. A worker that is started in a dead one's place counts on."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers

    @property
    def calls_open(self) -> int:
        return int(self._numbers[0])

    @calls_open.setter
    def calls_open(self, count: int) -> None:
        self._numbers[0] = count

    @property
    def settled(self) -> int:
        """Calls that have ended."""
        return int(self._numbers[1])

    @settled.setter
    def settled(self, count: int) -> None:
        self._numbers[1] = count

    @property
    def problems(self) -> int:
        """Those of them that were not plainly metered."""
        return int(self._numbers[2])

    @problems.setter
    def problems(self, count: int) -> None:
        self._numbers[2] = count

    @property
    def lines_waiting(self) -> int:
        """Lines of its journal that the disk did not take yet."""
        return int(self._numbers[3])

    @lines_waiting.setter
    def lines_waiting(self, count: int) -> None:
        self._numbers[3] = count
