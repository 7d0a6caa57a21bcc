"""What was marked before: for a word to whoever ends a step that never began.

Journals alone are looked through, for marks and nothing else, so that a mark costs no opening of the ledger. Nothing
here changes what is marked.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ..data.call import Edge
from ..data.columns import Kind
from ..data.marks import Mark
from ..data.paths import journal_folder
from ..data.replay import Line, decode
from ..data.system import open_file

BYTES_MAX = 64 * 1024 * 1024
"""With more journal than this beside it a ledger's marks are not looked for: some tenths of a second."""
_STEP = b'"kind":"step"'


def word_on_end(ledger: Path, mark: Mark) -> str | None:
    """What is odd about this end of a step, in words; None where nothing is, or it cannot be told cheaply."""
    try:
        found = sorted(_edges(journal_folder(ledger), mark))
    except (OSError, ValueError):
        return None
    if not found:
        return "it never began"
    return None if found[-1][1] == Edge.BEGIN else "it had ended already"


def _edges(folder: Path, mark: Mark) -> Iterator[tuple[int, str]]:
    """When and how the step was marked before; raises `ValueError` where there is too much to look through."""
    paths = [path for path in folder.glob("*.jsonl") if path.is_file()] if folder.is_dir() else []
    if sum(path.stat().st_size for path in paths) > BYTES_MAX:
        raise ValueError("too much to look through")
    for path in paths:
        for fields in _step_lines(path):
            framework = fields.get("framework")
            if (fields["run_id"], fields["step"]) != (mark.run_id, mark.step):
                continue
            if None in (framework, mark.framework) or framework == mark.framework:
                yield int(str(fields["marked_at"])), str(fields["edge"])


def _step_lines(path: Path) -> Iterator[dict[str, object]]:
    descriptor = open_file(path)
    try:
        if not os.fstat(descriptor).st_size:
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_STEP)
            while at >= 0:
                begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
                line = decode(data[begin : end if end >= 0 else len(data)], begin)
                if isinstance(line, Line) and line.kind is Kind.STEP:
                    yield line.fields
                at = data.find(_STEP, max(end, at + 1)) if end >= 0 else -1
    finally:
        os.close(descriptor)
