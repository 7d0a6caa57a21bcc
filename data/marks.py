"""Marks: when runs and steps began and ended, and which of them is open now.

A `MarkBook` answers one question for the proxy, call by call: which run and step is open for this framework? It is
pure: marks and instants in, labels out. What it answers is written with the call and never changed; the ledger's
`runs` and `steps` are derived from the journaled marks by SQL, not from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from .call import FRAMEWORK_CHARS_MAX, RUN_ID_CHARS_MAX, STEP_CHARS_MAX, Edge, MarkedBy
from .clock import US_PER_MINUTE
from .error import SubmeterError

IDLE_US = 60 * US_PER_MINUTE
"""A run without a call for this long, and none open, has ended (DESIGN.md section 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One edge of a run or a step."""

    kind: Literal["run", "step"]
    framework: str | None
    """None: not said, and not to be told from an open run."""
    run_id: str
    step: str | None
    """None for a run's own edges."""
    edge: Edge
    by: MarkedBy
    marked_at: int
    """Microseconds UTC: when it happened, which for imported marks is long before it was written."""
    status: str | None = None
    """The orchestrator's own word, such as `success`."""

    def line(self) -> dict[str, Any]:
        """The fields of a `run` or `step` journal line."""
        fields: dict[str, Any] = {"run_id": self.run_id, "edge": self.edge, "by": self.by, "marked_at": self.marked_at}
        for name in ("framework", "step", "status"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        return fields


def run_name(framework: str | None, run_id: str) -> str:
    """A run as users write it: `chatdev/test_run_123`, or the bare run id where no framework is known."""
    return f"{framework}/{run_id}" if framework else run_id


def split_run(name: str) -> tuple[str | None, str]:
    """`chatdev/test_run_123` as (framework, run id); a bare run id has no framework."""
    framework, slash, run_id = name.partition("/")
    return (framework.lower(), run_id) if slash and framework and run_id else (None, name)


def check_label(what: str, value: str, chars_max: int) -> str:
    """The label itself, or a `SubmeterError`: labels have 1 to `chars_max` printable characters."""
    if not 1 <= len(value) <= chars_max or not value.isprintable():
        raise SubmeterError(
            f"{what} {value[:40]!r} cannot be used as a label.",
            f"A label has 1 to {chars_max} printable characters; this one has {len(value)}.",
            "Choose a shorter name, such as: submeter step begin 4.7 --run test_run_123",
        )
    return value


def check_framework(value: str) -> str:
    """The framework itself, or a `SubmeterError`: a label without a slash, which in a run's name ends it."""
    if "/" in value:
        raise SubmeterError(
            f"Framework {value[:40]!r} cannot be used as a label.",
            "A run is written FRAMEWORK/ID, so no framework has a slash in it.",
            "Choose another name, such as: submeter run --framework chatdev -- python run.py",
        )
    return check_label("Framework", value, FRAMEWORK_CHARS_MAX)


def check_run_id(value: str) -> str:
    return check_label("Run", value, RUN_ID_CHARS_MAX)


def check_step(value: str) -> str:
    return check_label("Step", value, STEP_CHARS_MAX)


class OpenRunRow(NamedTuple):
    """An open run, as one book tells another of the same proxy."""

    framework: str | None
    run_id: str
    step: str | None
    """Its open step."""
    active_at: int
    """Microseconds UTC: when it last had a mark or a call; now, where a call is open."""


@dataclass(slots=True)
class _OpenRun:
    step: str | None
    active_at: int
    calls_open: int = 0

    def is_idle(self, now_us: int) -> bool:
        return not self.calls_open and now_us - self.active_at >= IDLE_US


class MarkBook:
    """The runs and steps that are open now, by (framework, run id)."""

    def __init__(self) -> None:
        self._open: dict[tuple[str | None, str], _OpenRun] = {}

    def apply(self, mark: Mark) -> Mark:
        """Follow a mark; answers it with the framework filled in where one open run alone has this run id."""
        framework = mark.framework if mark.framework is not None else self.framework_of(mark.run_id, mark.marked_at)
        if framework != mark.framework:
            mark = replace(mark, framework=framework)
        name = (framework, mark.run_id)
        run = self._open.get(name)
        if mark.kind == "run" and mark.edge is Edge.END:
            self._open.pop(name, None)
        elif run is None:
            if mark.edge is Edge.BEGIN:
                self._open[name] = _OpenRun(step=mark.step, active_at=mark.marked_at)
        else:
            run.active_at = max(run.active_at, mark.marked_at)
            if mark.kind == "step" and mark.edge is Edge.BEGIN:
                run.step = mark.step
            elif mark.kind == "step" and run.step == mark.step:
                run.step = None
        return mark

    def open_runs(self, now_us: int) -> list[OpenRunRow]:
        """Every open run; see `follow`."""
        return [
            OpenRunRow(*name, run.step, now_us if run.calls_open else run.active_at)
            for name, run in self._open.items()
            if not run.is_idle(now_us)
        ]

    def follow(self, runs: Iterable[OpenRunRow], now_us: int) -> None:
        """Have these runs open and no others, as another book of the proxy has; open calls of our own stay counted."""
        before, self._open = self._open, {}
        for row in runs:
            name = (row.framework, row.run_id)
            run = before.get(name) or _OpenRun(step=row.step, active_at=row.active_at)
            run.step, run.active_at = row.step, max(run.active_at, row.active_at)
            if not run.is_idle(now_us):
                self._open[name] = run

    def framework_of(self, run_id: str, now_us: int) -> str | None:
        """The framework of the one open run with this id; None where there is none, or more than one."""
        found = self._frameworks_of(run_id, now_us)
        return found.pop() if len(found) == 1 else None

    def check_whole(self, mark: Mark) -> None:
        """Raise a `SubmeterError` for a mark that leaves open which of several open runs of its id it is of."""
        found = self._frameworks_of(mark.run_id, mark.marked_at) if mark.framework is None else set()
        if len(found) > 1:
            names = sorted(run_name(framework, mark.run_id) for framework in found)
            raise SubmeterError(
                f"There is more than one open run {mark.run_id!r}.",
                f"They are: {', '.join(names)}.",
                f"Name it whole, such as: submeter step begin 1 --run {names[0]}",
            )

    def _frameworks_of(self, run_id: str, now_us: int) -> set[str]:
        return {framework for framework, open_id in self._alive(now_us) if open_id == run_id and framework}

    def declared(self, framework: str | None, run_id: str, now_us: int) -> bool:
        """Whether this run is open under this framework."""
        return (framework, run_id) in self._alive(now_us)

    def open_run(self, framework: str | None, now_us: int) -> tuple[str | None, str] | None:
        """The one open run of this framework, else the one open run of no framework; None where that is not one."""
        alive = self._alive(now_us)
        for wanted in (framework, None):
            found = [name for name in alive if name[0] == wanted]
            if found:
                return found[0] if len(found) == 1 else None
        return None

    def open_step(self, framework: str | None, run_id: str) -> str | None:
        """The open step of an open run; None where no step is open."""
        run = self._open.get((framework, run_id)) or self._open.get((None, run_id))
        return run.step if run else None

    def call_began(self, framework: str | None, run_id: str, now_us: int) -> None:
        run = self._open.get((framework, run_id)) or self._open.get((None, run_id))
        if run:
            run.calls_open += 1
            run.active_at = max(run.active_at, now_us)

    def call_ended(self, framework: str | None, run_id: str, now_us: int) -> None:
        run = self._open.get((framework, run_id)) or self._open.get((None, run_id))
        if run:
            run.calls_open = max(0, run.calls_open - 1)
            run.active_at = max(run.active_at, now_us)

    def _alive(self, now_us: int) -> list[tuple[str | None, str]]:
        if not self._open:
            return []
        for name in [name for name, run in self._open.items() if run.is_idle(now_us)]:
            del self._open[name]
        return list(self._open)
