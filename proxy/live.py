"""What can be looked at while calls go on: the latest and the open ones, what was counted, and the ledger's figures.

    live = Live(open_ledger, clock, place)     # `place`: beside which workers; None: a proxy of its own
    live.note(settle_line)                     # a call has ended
    live.share(recorder)                       # every second, where there are other workers: let them show it too
    live.seen(recorder)                        # of the whole proxy, whichever worker is asked

A worker that is started in a dead one's place counts on from what that one shared last, so that no count falls; what
happened in the dead one's last second is missing, and is in the ledger. All but the ledger's figures is for the lane's
thread. Never here: how any of it is shown.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from ..data.clock import Clock
from .counters import CallKey, Counters, TokenKey, add_counts
from .live_book import CALLS_MAX, LiveBook, open_calls
from .live_figures import LiveFigures

if TYPE_CHECKING:
    from ..data.ledger import Ledger
    from .place import WorkerPlace
    from .recorder import Recorder

SHARE_S = 1.0
NOTICE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Seen:
    """What one proxy, or one worker, has seen of its calls."""

    open: list[dict[str, Any]] = field(default_factory=list)
    """Calls that go on, the oldest first."""
    last: list[dict[str, Any]] = field(default_factory=list)
    """Those that ended, the latest first."""
    calls: dict[CallKey, int] = field(default_factory=dict)
    tokens: dict[TokenKey, int] = field(default_factory=dict)

    def add(self, other: Seen) -> None:
        """Put what another worker has seen beside it."""
        self.open = sorted((*self.open, *other.open), key=lambda call: call["started_at"])[:CALLS_MAX]
        self.last = sorted((*self.last, *other.last), key=lambda call: -call["ended_at"])[:CALLS_MAX]
        add_counts(self.calls, other.calls)
        add_counts(self.tokens, other.tokens)

    def encode(self) -> bytes:
        """As one text."""
        counts = {name: [(*key, count) for key, count in getattr(self, name).items()] for name in ("calls", "tokens")}
        return orjson.dumps({"open": self.open, "last": self.last, **counts})


def read_seen(text: bytes) -> Seen:
    """What `encode` made a text of."""
    said = orjson.loads(text)
    calls = {(row[0], row[1], row[2], row[3]): row[4] for row in said["calls"]}
    tokens = {(row[0], row[1], row[2]): row[3] for row in said["tokens"]}
    return Seen(open=said["open"], last=said["last"], calls=calls, tokens=tokens)


class Live:
    """What can be looked at of one proxy, or of one of its workers."""

    def __init__(self, ledger: Callable[[], Ledger], clock: Clock, place: WorkerPlace | None) -> None:
        """`ledger`: opens it, once somebody looks."""
        self.figures = LiveFigures(ledger, clock)
        self._book = LiveBook()
        self._counters = Counters()
        self._place = place
        self._others: dict[int, Seen] = {}
        """What the other workers shared last, by number."""
        self._before = Seen()
        """What stood in this worker's place, before it, had seen."""
        self._shared: tuple[int, int] | None = None
        if place is not None and (text := place.notices[place.number].read()):
            self._before = read_seen(text)
            self._before.open = []

    def begin(self) -> threading.Thread:
        """The thread that asks the ledger whenever somebody looks, until `end`."""
        thread = threading.Thread(target=self.figures.run, name="submeter-live", daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        """Have the thread end."""
        self.figures.end()

    def note(self, line: Mapping[str, Any]) -> None:
        """A call has ended; `line` is its settle line."""
        self._book.note(line)
        self._counters.note(line)

    def share(self, recorder: Recorder) -> None:
        """Let the other workers show what is new here."""
        if self._place is None:
            return
        stands = recorder.settled, len(recorder.open)
        if stands == self._shared:
            return
        notice = self._place.notices[self._place.number]
        with contextlib.suppress(ValueError), notice.held():  # Too long: what stands there is older, and right.
            notice.write(self._own(recorder).encode())
            self._shared = stands

    def seen(self, recorder: Recorder) -> Seen:
        """What the whole proxy has seen; of other workers as of their last second."""
        seen = self._own(recorder)
        if self._place is None:
            return seen
        for number, notice in enumerate(self._place.notices):
            if number == self._place.number:
                continue
            if text := notice.read():
                self._others[number] = read_seen(text)
            if number in self._others:
                seen.add(self._others[number])
        return seen

    def _own(self, recorder: Recorder) -> Seen:
        seen = Seen(
            open=open_calls(list(recorder.open.values())),
            last=self._book.last_calls(),
            calls=self._counters.calls,
            tokens=self._counters.tokens,
        )
        seen.add(self._before)
        return seen
