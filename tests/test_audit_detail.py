"""The long form of a verdict fits in a journal line, whatever a provider's names are."""

from __future__ import annotations

import orjson

from submeter.audit.detail import DETAIL_BYTES_MAX, bounded


def test_a_detail_that_fits_is_left_as_it_is() -> None:
    assert bounded({"units": [1, 2]}) == {"units": [1, 2]}


def test_a_detail_that_does_not_fit_is_shortened_and_says_so() -> None:
    long = {
        "units": [{"model": "m" * 5_000} for _ in range(60)],
        "unknown": {"calls": 900, "listed": [{"call_id": "c" * 4_000} for _ in range(40)]},
        "odd": "x" * 100_000,
        "kept": 1,
    }
    short = bounded(long)
    assert len(orjson.dumps(short)) <= DETAIL_BYTES_MAX
    assert (short["shortened"], short["kept"], short["unknown"]["calls"]) == (True, 1, 900)
