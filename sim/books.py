"""The books: every billed call, decided before a byte of its answer is written, and the bill that follows.

An entry is one call. A line is one posting of it to the bill: an instant, counts, and when the Usage API begins to
show it. A correction is another line, never a change. This is the truth that tests compare everything else with, so
nothing here reads a request, a response or the Usage API's pages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .counts import Counts, total


class State(StrEnum):
    """How far a call has come."""

    OPEN = "open"
    COMPLETED = "completed"
    ABORTED = "aborted"
    """The client left before the end, as far as the server could tell."""
    FAILED = "failed"
    """The service itself broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call that creates work."""

    number: int
    """0, 1, 2 ... in the order in which calls were taken on."""
    api_key_id: str | None
    """None where the key is not tracked."""
    key_secret_end: str
    """The last four characters of the secret: enough to tell keys apart in a failing test."""
    project_id: str
    user_id: str
    usage_endpoint: str
    """The path of the Usage API that bills it: `completions`, `embeddings` ..."""
    model: str
    """The name on the bill."""
    request_model: str | None
    served_model: str | None
    """The name in the response body."""
    batch: bool = False
    service_tier: str | None = None
    source: str | None = None
    """Images only: `image.generation`, `image.edit` or `image.variation`."""
    size: str | None = None
    context_level: str | None = None
    """Web searches only."""
    counts: Counts
    """All that the call is worth. What was billed of it is in the lines."""
    cached_silent: bool = False
    """Whether the body leaves out the details that would tell the cached tokens."""
    usage_told: bool = True
    """Whether the body, if it arrives whole and unspoilt, tells its totals."""
    started_at: float
    """Seconds since 1970, by the clock that was given."""
    completed_at: float | None = None
    """None while open. A background response has it from the beginning, in the future."""
    state: State = State.OPEN
    billed: bool = False
    delivered: bool | None = None
    """Whether the last byte was handed to the connection while it was up. None: not known yet."""
    streamed: bool = False
    background: bool = False
    request_id: str
    response_id: str | None = None
    attempt: str | None = None
    """The `x-stainless-retry-count` header."""
    path: str = ""
    """The path it was received on, with its query."""
    faults: tuple[str, ...] = ()
    """Kinds of the faults that were applied to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One posting of an entry to the bill."""

    entry: int
    billed_at: int
    """The instant that decides the bucket, whole seconds."""
    visible_from: float
    """When the Usage API begins to show it."""
    counts: Counts
    usage_endpoint: str

    @property
    def minute(self) -> int:
        """The first second of the billed minute."""
        return self.billed_at // 60 * 60


Billing = Callable[[Entry], Sequence[Line]]
"""Turns a completed entry into lines: lateness, splits, lag and corrections."""


class Books:
    """All entries and lines, safe to read from any thread while the server writes."""

    def __init__(self, billing: Billing) -> None:
        self._billing = billing
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._lines: list[Line] = []

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every call that creates work, billed or not, in the order taken on."""
        with self._lock:
            return tuple(self._entries)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every posting, in the order made."""
        with self._lock:
            return tuple(self._lines)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def open(self, build: Callable[[int], Entry]) -> Entry:
        """Take a call on; `build` is given its number."""
        with self._lock:
            entry = build(len(self._entries))
            self._entries.append(entry)
            return entry

    def complete(self, number: int, at: float) -> Entry:
        """The call is done at this instant: post it. Does nothing if it is no longer open."""
        return self._close(number, at, State.COMPLETED, billed=True)

    def break_off(self, number: int, at: float, state: State, *, billed: bool, share: float = 1.0) -> Entry:
        """The call ended early; if billed, for the given share of what it wrote (its input is always whole)."""
        with self._lock:
            entry = self._entries[number]
            if entry.state is State.OPEN and share < 1.0:
                self._entries[number] = replace(entry, counts=_written(entry.counts, share))
            return self._close(number, at, state, billed=billed)

    def cancel(self, number: int, at: float) -> Entry:
        """Take a background call back before it is done: its lines go, nothing is billed."""
        with self._lock:
            entry = self._entries[number]
            if entry.completed_at is None or entry.completed_at > at:
                entry = replace(entry, state=State.ABORTED, billed=False, completed_at=at)
                self._entries[number] = entry
                self._lines = [line for line in self._lines if line.entry != number]
            return entry

    def correct(self, number: int, counts: Counts, *, visible_from: float, billed_at: int | None = None) -> None:
        """Post a correction to a billed call: positive raises its bill, negative lowers it, from that instant on."""
        with self._lock:
            first = next(line for line in self._lines if line.entry == number)
            self._lines.append(
                Line(
                    entry=number,
                    billed_at=first.billed_at if billed_at is None else billed_at,
                    visible_from=visible_from,
                    counts=counts,
                    usage_endpoint=first.usage_endpoint,
                )
            )

    def post(self, line: Line) -> None:
        """Add one posting beside those that billing made (hosted tools have a usage endpoint of their own)."""
        with self._lock:
            self._lines.append(line)

    def note(self, number: int, *, delivered: bool | None = None, faults: tuple[str, ...] | None = None) -> None:
        """Write down what became known of a call afterwards."""
        with self._lock:
            entry = self._entries[number]
            if delivered is not None:
                entry = replace(entry, delivered=delivered)
            if faults is not None:
                entry = replace(entry, faults=faults)
            self._entries[number] = entry

    def billed(self, *, at: float | None = None) -> Iterator[tuple[Entry, Line]]:
        """Every line with its entry: those visible at an instant, or all that will ever be."""
        with self._lock:
            lines, entries = tuple(self._lines), tuple(self._entries)
        for line in lines:
            if at is None or line.visible_from <= at:
                yield entries[line.entry], line

    def total(
        self,
        *,
        usage_endpoint: str | None = None,
        api_key_id: str | None = None,
        model: str | None = None,
        minute: int | None = None,
    ) -> Counts:
        """What was billed, all of it or for one endpoint, key, model or minute, at infinite lag."""
        return total(
            [
                line.counts
                for entry, line in self.billed()
                if (usage_endpoint is None or line.usage_endpoint == usage_endpoint)
                and (api_key_id is None or entry.api_key_id == api_key_id)
                and (model is None or entry.model == model)
                and (minute is None or line.minute == minute)
            ]
        )

    def by_minute(self) -> dict[tuple[str, str | None, str, int], Counts]:
        """What was billed per usage endpoint, key id, billed model and minute, at infinite lag."""
        sums: dict[tuple[str, str | None, str, int], Counts] = {}
        for entry, line in self.billed():
            unit = (line.usage_endpoint, entry.api_key_id, entry.model, line.minute)
            sums[unit] = sums.get(unit, Counts()) + line.counts
        return sums

    def _close(self, number: int, at: float, state: State, *, billed: bool) -> Entry:
        with self._lock:
            entry = self._entries[number]
            if entry.state is not State.OPEN:
                return entry
            entry = replace(entry, state=state, billed=billed, completed_at=at)
            self._entries[number] = entry
            if billed:
                self._lines.extend(self._billing(entry))
            return entry


def _written(counts: Counts, share: float) -> Counts:
    part = counts.part(share)
    return replace(
        counts,
        output_text=part.output_text,
        output_audio=part.output_audio,
        output_image=part.output_image,
        reasoning=min(part.reasoning, part.output_text),
    )
