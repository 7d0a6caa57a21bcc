"""What is true of one key of a world as far as the ledger could know at a moment, as `referee_truth` asks for it.

A call whose journal has not been copied in yet, or whose key has not its right id yet, went past this ledger as far as
the ledger can know; a run without a mark yet is nobody's run. All of it is from the world's making.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from ledger_lines import Scribe
from ledger_provider import Provider, asked_of
from referee_calls import DAY, Call, Shown
from referee_moment import Bills, bills_of
from referee_world import World

from submeter.audit.window import Window, touching


class SeenWorld:
    """A world of which the audit knows so much."""

    def __init__(self, world: World, calls: Sequence[Call]) -> None:
        self._world = world
        self.calls = calls
        self.optional_known = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def own(self, run: int, key: int) -> list[Call]:
        return [call for call in self.calls if call.run == run and call.key == key]

    def shown(self, key: int, usage_endpoint: str, now: float) -> Shown:
        return self._world.shown(key, usage_endpoint, now)


@dataclass(kw_only=True)
class Seen:
    """One key of a world at one moment."""

    world: SeenWorld
    key: int
    now: float
    last: bool
    calls: list[Call]
    """Those of this key."""
    rows: list[Any]
    asked: list[list[Any]]
    shares: list[tuple[int | None, Any]]
    renamed_paired: bool
    truths: dict[int, Any] = field(default_factory=dict)
    """Of each run, once it was asked for: what is true of it."""

    def bills(self) -> Bills:
        """What each usage endpoint told so far."""
        return bills_of(self.world, self.key, self.asked)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The chains of the key, from the world's own times and the run windows that the audit told."""
        return touching(
            [
                *(Window(start=row.first_minute, end=row.last_minute + 1) for row in self.rows),
                *(share.window for _, share in self.shares),
            ]
        )

    def found(self, share: Any) -> Any:
        """The chain of a share, as far as the truth asks for it."""
        window = next(each for each in self.windows if each.overlaps(share.window))
        rows = [row for row in self.rows if row.first_minute in window]
        return SimpleNamespace(chain=SimpleNamespace(window=window, rows=rows), closed=False)

    def within(self, window: Window) -> Seen:
        """The same with the calls of one chain alone."""
        near = [
            call
            for call in self.calls
            if call.begin_minute() in window or any(piece.minute in window for piece in call.pieces)
        ]
        return replace(self, calls=near, world=SeenWorld(self.world._world, near), truths={})


def known_runs(scribe: Scribe, now: float) -> frozenset[int]:
    """Runs of the world that a mark or a call in the ledger names, at a moment."""
    world = scribe.world
    found = set()
    for name, run in enumerate(world.runs):
        if scribe.style == "imports":
            known = scribe.imported_at[name] <= now
        elif scribe.style == "marks":
            known = run.begin <= now
        else:
            known = False
        if known:
            found.add(scribe.names[name])
    for call in world.calls:
        if scribe.style != "imports" and call.run is not None and is_seen(scribe, call, now):
            found.add(call.run)
    return frozenset(found)


def is_seen(scribe: Scribe, call: Call, now: float) -> bool:
    """Whether the ledger has a line of a call."""
    return call.standing != "hidden" and call.begin <= now and scribe.unseen_until.get(id(call), -1.0) <= now


def seen(scribe: Scribe, provider: Provider, key: int, *, last: bool, shares: Sequence[tuple[int | None, Any]]) -> Seen:
    """What the ledger could know of one key now. `key`: 0 or 1."""
    world, now = scribe.world, provider.now(scribe)
    runs = known_runs(scribe, now)
    without_id = key == 0 and scribe.late_id is not None and now < scribe.late_id[1] + 0.001
    calls: list[Call] = []
    lost: list[float] = []
    for call in world.calls:
        run = call.run if call.run in runs else None
        visible = call.standing == "hidden" or (is_seen(scribe, call, now) or call.begin > now)
        hidden = not visible or (without_id and call.key == 0)
        if id(call) in scribe.lost:
            lost.append(call.begin)
        calls.append(replace(call, run=run, standing="hidden" if hidden else call.standing))
    mine = [call for call in calls if call.key == key]
    rows = [
        SimpleNamespace(
            standing=call.shown_standing(now),
            hosted=call.extra > 0,
            first_minute=call.begin_minute() - 1,
            # A lost call ends when its process is first known to be gone, which is some audit later.
            last_minute=call.end_minute(now) + 1 + world.shift + (DAY if call.begin in lost else 0),
            open=call.is_open(now),
        )
        for call in mine
        if call.standing != "hidden" and call.begin <= now
    ]
    return Seen(
        world=SeenWorld(world, calls),
        key=key,
        now=now,
        last=last,
        calls=mine,
        rows=rows,
        asked=asked_of(provider, scribe.number, key),
        shares=list(shares),
        renamed_paired=False,
    )
