"""What a `usage_read` line that says good is worth, judged from its fields and the pages beside the journal."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from submeter.data.read_lines import judge_read
from submeter.data.usage_pages import Problem

BEGIN_US = 1_761_645_600_000_000
MINUTE_US = 60_000_000


def kept(folder: Path, minutes: range, **fields: Any) -> str:
    """A page of empty minutes, kept; its digest."""
    begin_s = BEGIN_US // 1_000_000
    buckets = [
        {"start_time": begin_s + 60 * minute, "end_time": begin_s + 60 * minute + 60, "results": []}
        for minute in minutes
    ]
    body = json.dumps({"data": buckets, "has_more": False, **fields}).encode()
    digest = hashlib.sha256(body).hexdigest()
    (folder / f"{digest}.json.gz").write_bytes(gzip.compress(body))
    return digest


def line(*pages: str, **fields: Any) -> dict[str, Any]:
    return {
        "read_id": "read-1",
        "usage_endpoint": "completions",
        "api_key_ids": ["key_a"],
        "window_start": BEGIN_US,
        "window_end": BEGIN_US + 5 * MINUTE_US,
        "asked_at": BEGIN_US + 5 * MINUTE_US,
        "good": True,
        "pages": list(pages),
        **fields,
    }


def test_a_line_whose_pages_list_every_minute_is_a_good_read(tmp_path: Path) -> None:
    found = judge_read(tmp_path, line(kept(tmp_path, range(5))))
    assert (found.problem, found.message, found.rows, found.holes) == (None, None, (), 0)


def test_holes_are_counted_from_the_pages_and_not_taken_from_the_line(tmp_path: Path) -> None:
    pages = [kept(tmp_path, range(2)), kept(tmp_path, range(4, 5))]
    found = judge_read(tmp_path, line(*pages, holes=0))
    assert (found.problem, found.holes) == (None, 2)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"usage_endpoint": "audio_speeches"}, Problem.OTHER_PATH),
        ({"api_key_ids": None}, Problem.OTHER_KEY),
        ({"api_key_ids": ["key_a", "key_b"]}, Problem.OTHER_KEY),
        ({"asked_at": BEGIN_US + 5 * MINUTE_US - 1}, Problem.BAD_WINDOW),
        ({"window_start": BEGIN_US + 1}, Problem.BAD_WINDOW),
        ({"window_end": BEGIN_US + 4 * MINUTE_US}, Problem.BUCKET_OUTSIDE),
        ({"window_end": BEGIN_US + 6 * MINUTE_US, "asked_at": BEGIN_US + 6 * MINUTE_US}, Problem.HOLE_NOT_ASKED),
        ({"pages": None}, Problem.NOT_KEPT),
        ({"pages": []}, Problem.NOT_KEPT),
        ({"pages": ["0" * 64]}, Problem.NOT_KEPT),
        ({"pages": ["../secret"]}, Problem.NOT_KEPT),
    ],
)
def test_a_line_that_says_good_and_is_not_is_not_believed(
    tmp_path: Path, fields: dict[str, Any], problem: Problem
) -> None:
    found = judge_read(tmp_path, line(kept(tmp_path, range(5)), **fields))
    assert (found.problem, found.rows, found.holes) == (problem, (), None)
    assert found.message
