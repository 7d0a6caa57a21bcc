"""What the fuzzer found interesting, and what it broke once, asked again; see `bench/fuzz_meter.py`."""

from __future__ import annotations

from pathlib import Path

import fuzz_laws
import pytest
from hypothesis import given
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_an_input_that_was_interesting_once_keeps_every_law(path: Path) -> None:
    fuzz_laws.check(path.read_bytes())


@given(st.sampled_from(range(len(fuzz_laws.LAWS))), st.binary(max_size=300))
def test_any_input_keeps_every_law(law: int, rest: bytes) -> None:
    fuzz_laws.check(bytes([law]) + rest)
