"""A full disk, as a limit on the size of this process's files."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def file_bytes_max(room: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes.

    Python compiles nothing meanwhile: it does not look whether a compiled file was written whole, and a torn one breaks
    every later import of its module, in whatever program ("marshal data too short").
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        sys.dont_write_bytecode = compiled
