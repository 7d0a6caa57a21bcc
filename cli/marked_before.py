"""What the journals told of a step or run before: for a word to whoever ends one that never began.

Journals alone are looked through, so that a mark costs no opening of the ledger. Nothing here changes what is marked.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from ..data.call import Edge
from ..data.columns import Kind
from ..data.marks import Mark
from ..data.paths import journal_folder
from ..data.replay import Line, decode
from ..data.system import open_file

BYTES_MAX = 64 * 1024 * 1024
"""With more journal than this beside it a ledger's marks are not looked for: some tenths of a second."""


def word_on_end(ledger: Path, mark: Mark) -> str | None:
    """What is odd about this end of a step or run, in words; None where nothing is, or it cannot be told cheaply."""
    try:
        found = sorted(_edges(journal_folder(ledger), mark))
    except (OSError, ValueError):
        return None
    if not found:
        return "it never began"
    return None if found[-1][1] == Edge.BEGIN else "it had ended already"


def _edges(folder: Path, mark: Mark) -> Iterator[tuple[int, str]]:
    """When and how it was begun or ended before; raises `ValueError` where there is too much to look through."""
    paths = [path for path in folder.glob("*.jsonl") if path.is_file()] if folder.is_dir() else []
    if sum(path.stat().st_size for path in paths) > BYTES_MAX:
        raise ValueError("too much to look through")
    for path in paths:
        for line in _lines_of(path, mark.run_id):
            told = orjson.loads(line.raw)
            framework = told.get("framework")
            if told.get("run_id") != mark.run_id or (
                None not in (framework, mark.framework) and framework != mark.framework
            ):
                continue
            if mark.kind == "run":
                # A run also begins with a call or a step of it.
                ends = line.kind is Kind.RUN and told["edge"] == Edge.END
                yield int(told.get("marked_at") or line.at), Edge.END if ends else Edge.BEGIN
            elif line.kind is Kind.STEP and told["step"] == mark.step:
                yield int(told["marked_at"]), told["edge"]


def _lines_of(path: Path, run_id: str) -> Iterator[Line]:
    """The marks of this run, and the starts and ends of its calls."""
    sought = b'"run_id":' + orjson.dumps(run_id)
    descriptor = open_file(path)
    try:
        if not os.fstat(descriptor).st_size:
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            at = data.find(sought)
            while at >= 0:
                begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
                line = decode(data[begin : end if end >= 0 else len(data)], begin)
                if isinstance(line, Line) and line.kind in (Kind.RUN, Kind.STEP, Kind.START, Kind.SETTLE):
                    yield line
                at = data.find(sought, max(end, at + 1)) if end >= 0 else -1
    finally:
        os.close(descriptor)
