"""What the ledger knows at one moment, laid out by key: books, spans, runs, and what was said of them before.

A `KeyBook` is one key id: its minute book, the run episodes on it, and the spans that both make. `Books` is all keys
an audit looks at, read from the ledger in one go. A run is on a key if its calls used it, or if the key was its
framework's own while it ran; so a framework whose calls all go past the meter still has its key audited.

No verdict is reached here, and nothing is written.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import questions
from .questions import Asking, Episode, OwnKey, RunName, RunUse, StoredVerdict
from .span import MARGIN_MIN, Window, active_minutes, minute_of, spans
from .unit import BookRow
from .unknown import Gap


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBook:
    """One key id, all of its time."""

    api_key_id: str
    rows: Sequence[BookRow]
    episodes: Sequence[Episode]
    """Of every run that was on this key."""
    uses: Sequence[RunUse]
    windows: tuple[Window, ...]
    """The windows of all spans, ascending."""

    def rows_in(self, window: Window) -> list[BookRow]:
        """The book of one span or of a part of it: the calls begun in it. No call is open across two parts."""
        return [row for row in self.rows if row.first_minute + MARGIN_MIN in window]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything an audit asks the ledger before it asks the Usage API. `now_us` is the moment of it."""

    now_us: int
    state: tuple[int, ...]
    """How much the ledger held of what these books are made from."""
    shift_min: int
    episodes: Mapping[RunName, Sequence[Episode]]
    uses: Mapping[RunName, Sequence[RunUse]]
    key_ids: Mapping[RunName, tuple[str, ...]]
    """Every key id that a run was on."""
    verdicts: Sequence[StoredVerdict]
    gaps: Sequence[Gap]
    keys: Mapping[str, KeyBook]

    @property
    def at_rest(self) -> bool:
        """Whether no call and no run is open, so that the books do not change by themselves as time passes."""
        return not any(
            any(row.open for row in book.rows) or any(each.ended_us is None for each in book.episodes)
            for book in self.keys.values()
        ) and not any(each.ended_us is None for episodes in self.episodes.values() for each in episodes)

    def keyless(self, run: RunName) -> int:
        """Creates of a run on keys without an id."""
        return sum(use.keyless for use in self.uses.get(run, ()))

    def spans_of(self, run: RunName, api_key_id: str) -> list[Window]:
        """The spans on one key in which a run was under way or had a call open."""
        times = self.minutes(run, api_key_id)
        return [window for window in self.keys[api_key_id].windows if any(window.meets(*each) for each in times)]

    def minutes(self, run: RunName, api_key_id: str) -> list[tuple[int, int]]:
        """First and last minute of each stretch in which a run was under way or had a call open on one key."""
        times = [(minute_of(each.started_us), self._last_minute(each)) for each in self.episodes.get(run, ())]
        return times + [
            (use.first_minute, use.last_minute) for use in self.uses.get(run, ()) if use.api_key_id == api_key_id
        ]

    def episode_minutes(self, api_key_id: str, window: Window) -> list[tuple[int, int]]:
        """First and last minute of every run episode on this key that reaches into a window."""
        return [(minute_of(each.started_us), self._last_minute(each)) for each in self.episodes_in(api_key_id, window)]

    def episodes_in(self, api_key_id: str, window: Window) -> list[Episode]:
        """Every run episode on this key that reaches into a window."""
        return [
            each
            for each in self.keys[api_key_id].episodes
            if window.meets(minute_of(each.started_us), self._last_minute(each))
        ]

    def runs_in(self, api_key_id: str, window: Window) -> list[RunName]:
        """The runs that were under way or had a call open on this key in a window, in order of their names."""
        book = self.keys[api_key_id]
        found = {use.run for use in book.uses if window.meets(use.first_minute, use.last_minute)}
        found |= {
            each.run for each in book.episodes if window.meets(minute_of(each.started_us), self._last_minute(each))
        }
        return sorted(found, key=run_order)

    def run_open(self, api_key_id: str, window: Window) -> bool:
        """Whether a run on this key that reaches into a window has not ended."""
        return any(
            each.ended_us is None and window.meets(minute_of(each.started_us), self._last_minute(each))
            for each in self.keys[api_key_id].episodes
        )

    def gaps_in(self, window: Window) -> list[Gap]:
        return [gap for gap in self.gaps if window.meets(gap.first_minute, gap.last_minute)]

    def book_state(self, api_key_id: str, window: Window) -> str:
        """Digest of what a verdict on a window rests on, on our side: another book, another verdict."""
        lines = sorted(map(repr, self.keys[api_key_id].rows_in(window))) + sorted(map(repr, self.gaps_in(window)))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _last_minute(self, episode: Episode) -> int:
        return minute_of(self.now_us if episode.ended_us is None else max(episode.started_us, episode.ended_us))


def read_books(
    asked: Asking, *, now_us: int, shift_min: int, configured: Mapping[str, str], api_key_ids: Iterable[str] = ()
) -> Books:
    """Ask the ledger.

    The state is asked for first and the runs before the calls: what comes in between makes the books be read again, or
    stands in the book of a run that has not ended.

    `configured`: framework to key id as the environment has it now; it counts where the ledger never saw a key of the
    framework, because none of its calls came by. `api_key_ids`: keys to look at beside those that some run was on.
    """
    state = questions.state(asked)
    episodes: dict[RunName, list[Episode]] = defaultdict(list)
    for episode in questions.episodes(asked):
        episodes[episode.run].append(episode)
    uses: dict[RunName, list[RunUse]] = defaultdict(list)
    uses_on: dict[str, list[RunUse]] = defaultdict(list)
    for use in questions.run_uses(asked):
        uses[use.run].append(use)
        if use.api_key_id is not None:
            uses_on[use.api_key_id].append(use)
    sights: dict[str | None, list[OwnKey]] = defaultdict(list)
    for sight in questions.own_keys(asked):
        sights[sight.framework].append(sight)
    key_ids: dict[RunName, tuple[str, ...]] = {}
    episodes_on: dict[str, list[Episode]] = defaultdict(list)
    for run in sorted({*episodes, *uses}, key=run_order):
        own = _own_key_ids(episodes[run], sights[run[0]])
        if run[0] is not None and run[0] in configured and not sights[run[0]]:
            own = {configured[run[0]]}
        used = {use.api_key_id for use in uses[run] if use.api_key_id is not None}
        key_ids[run] = tuple(sorted(own | used))
        for key in key_ids[run]:
            episodes_on[key].extend(episodes[run])
    keys = sorted({*episodes_on, *uses_on, *api_key_ids})
    rows = questions.book(asked, keys, shift_min=shift_min)
    return Books(
        now_us=now_us,
        state=state,
        shift_min=shift_min,
        episodes=episodes,
        uses=uses,
        key_ids=key_ids,
        verdicts=questions.verdicts(asked),
        gaps=questions.gaps(asked, shift_min=shift_min),
        keys={
            key: KeyBook(
                api_key_id=key,
                rows=tuple(rows[key]),
                episodes=tuple(episodes_on[key]),
                uses=tuple(uses_on[key]),
                windows=_windows(rows[key], episodes_on[key], now_us=now_us, shift_min=shift_min),
            )
            for key in keys
        },
    )


def run_order(run: RunName) -> tuple[str, str]:
    """A key to sort runs by."""
    return run[0] or "", run[1]


def _windows(
    rows: Sequence[BookRow], episodes: Sequence[Episode], *, now_us: int, shift_min: int
) -> tuple[Window, ...]:
    active = {(row.first_minute, row.last_minute) for row in rows}
    active |= {
        active_minutes(each.started_us, now_us if each.ended_us is None else each.ended_us, shift_min=shift_min)
        for each in episodes
    }
    return spans(active)


def _own_key_ids(episodes: Sequence[Episode], sights: Sequence[OwnKey]) -> set[str]:
    """The ids of a framework's own key while a run was under way: the last seen before it, and any seen during it."""
    found: set[str] = set()
    for episode in episodes:
        ended_us = episode.last_active_us if episode.ended_us is None else episode.ended_us
        before = [sight for sight in sights if sight.seen_us <= episode.started_us]
        during = [sight for sight in sights if episode.started_us < sight.seen_us <= ended_us]
        found |= {sight.api_key_id for sight in [*before[-1:], *during] if sight.api_key_id is not None}
    return found
