"""Fewer searches for garbage while a ledger is looked at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_EVERY = 100_000
"""Objects made between two searches: a look makes many, all of which live as long as it does."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """For the length of a block the interpreter looks for garbage seldom; then as before."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
