"""A look at a ledger searches for garbage seldom, and leaves the interpreter as it was."""

from __future__ import annotations

import gc

from submeter.cli.garbage import COLLECT_EVERY, seldom_collected


def test_garbage_is_searched_for_seldom_within_the_block_and_as_before_after_it() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        assert gc.get_threshold() == (COLLECT_EVERY, *before[1:])
    assert gc.get_threshold() == before
