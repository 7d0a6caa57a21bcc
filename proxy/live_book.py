"""What a proxy remembers of the calls that have just ended, for its live page: at once, where the ledger lags.

The settle lines are kept as they were written, as many as fit on a page; what is shown of one is a few of its fields.
Never here: sums (the ledger's are shown), and anything of the calls' content.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from .recorder import OpenCall

CALLS_MAX = 50
_SHOWN = (
    "call_id",
    "framework",
    "run_id",
    "step",
    "endpoint",
    "operation",
    "outcome",
    "status_code",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "started_at",
    "ended_at",
)
_SHOWN_OPEN = ("call_id", "framework", "run_id", "step", "endpoint", "started_at")


class LiveBook:
    """The latest calls of one proxy. Told by the lane's thread, which asks it too."""

    def __init__(self) -> None:
        self._lines: deque[Mapping[str, Any]] = deque(maxlen=CALLS_MAX)

    def note(self, line: Mapping[str, Any]) -> None:
        """Remember the settle line of a call."""
        self._lines.append(line)

    def last_calls(self) -> list[dict[str, Any]]:
        """The latest first. Times are microseconds UTC; a count that nobody told is None."""
        return [
            {name: line.get(name) for name in _SHOWN}
            | {"model": line.get("response_model") or line.get("request_model")}
            for line in reversed(self._lines)
        ]


def open_calls(calls: Iterable[OpenCall]) -> list[dict[str, Any]]:
    """The calls that go on, the oldest first, as many as fit on a page."""
    return [{name: call.start_line.get(name) for name in _SHOWN_OPEN} for call in islice(calls, CALLS_MAX)]
