"""The folder of raw pages: what is kept in it, and whether it is still there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from submeter.audit.reads import PageStore
from submeter.data.error import SubmeterError


def test_a_kept_page_is_held_and_comes_back_as_it_was(tmp_path: Path) -> None:
    store = PageStore(tmp_path / "reads")
    digests = store.keep([b"one", b"two", b"one"])
    assert digests == [hashlib.sha256(body).hexdigest() for body in (b"one", b"two", b"one")]
    assert store.held(digests)
    assert PageStore(tmp_path / "reads").body(digests[1]) == b"two"
    assert len(list((tmp_path / "reads").iterdir())) == 2


def test_a_read_is_not_held_where_one_page_of_it_is_gone(tmp_path: Path) -> None:
    store = PageStore(tmp_path / "reads")
    digests = store.keep([b"one", b"two"])
    (tmp_path / "reads" / f"{digests[1]}.json.gz").unlink()
    later = PageStore(tmp_path / "reads")
    assert later.held(digests[:1])
    assert not later.held(digests)
    assert later.body(digests[1]) is None


def test_a_page_that_another_audit_wrote_since_the_folder_was_looked_through_is_held(tmp_path: Path) -> None:
    early = PageStore(tmp_path / "reads")
    assert not early.held(["0" * 64])
    assert early.held(PageStore(tmp_path / "reads").keep([b"one"]))


def test_no_page_is_held_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert not PageStore(tmp_path / "gone").held(["0" * 64])
    assert PageStore(tmp_path / "gone").held([])


def test_a_damaged_page_is_no_page_and_is_written_again(tmp_path: Path) -> None:
    store = PageStore(tmp_path / "reads")
    (digest,) = store.keep([b"one"])
    (tmp_path / "reads" / f"{digest}.json.gz").write_bytes(b"\0")
    assert store.body(digest) is None
    store.keep([b"one"])
    assert store.body(digest) == b"one"


def test_a_page_that_cannot_be_kept_is_said_in_three_lines(tmp_path: Path) -> None:
    (tmp_path / "reads").write_text("in the way")
    with pytest.raises(SubmeterError, match="cannot be kept"):
        PageStore(tmp_path / "reads").keep([b"one"])
