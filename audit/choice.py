"""What to audit: the request as a user makes it, and which runs it means.

`--pending` takes the runs that are not final; `--min-age` and `--max-age` bar only those that were never read. A run
named on the command line ignores both, and no rule of the audit bends for it.

Pure: everything comes from `Books` and from what a `Judge` says stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.clock import US_PER_MINUTE
from ..data.error import SubmeterError
from .judge import Judge
from .keybook import Books, run_order
from .questions import RunName, StoredVerdict
from .report import RunStanding, Waiting, run_text
from .span import SHIFT_MIN, Window

MIN_AGE_MIN = 30
MAX_AGE_MIN = 24 * 60
SHIFT_MIN_MAX = 24 * 60
_NAMED_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """One audit command. Ages and `shift_min` are minutes, `from_us` and `to_us` microseconds UTC."""

    runs: tuple[str, ...] = ()
    """`framework/run_id`, or a bare run id where it is unique."""
    framework: str | None = None
    """Only runs of this framework."""
    pending: bool = False
    """Runs that are not final and due; also what is meant where neither runs nor a period are given."""
    from_us: int | None = None
    """With `to_us`: every span that reaches into the period, run or no run."""
    to_us: int | None = None
    min_age_min: int = MIN_AGE_MIN
    max_age_min: int = MAX_AGE_MIN
    shift_min: int = SHIFT_MIN
    """k: minutes after its end in which a call may still be billed."""
    settle_min: int | None = None
    """None: as the settings have it."""
    force: bool = False
    """Read and judge final verdicts again."""

    def __post_init__(self) -> None:
        if not 0 <= self.shift_min <= SHIFT_MIN_MAX:
            raise SubmeterError(
                f"--shift {self.shift_min} cannot be used.",
                f"It is a number of minutes from 0 to {SHIFT_MIN_MAX}.",
                f"Leave it out, or try: submeter audit RUN --shift {SHIFT_MIN}",
            )
        if (self.from_us is None) != (self.to_us is None) or (
            self.from_us is not None and self.to_us is not None and self.to_us <= self.from_us
        ):
            raise SubmeterError(
                "A period needs a begin and a later end.",
                "--from and --to go together, and --to is after --from.",
                "Try: submeter audit --from 2025-10-28T09:00Z --to 2025-10-28T18:00Z",
            )

    @property
    def of_period(self) -> bool:
        return self.from_us is not None

    def in_period(self, window: Window) -> bool:
        """Whether a window reaches into the period."""
        if self.from_us is None or self.to_us is None:
            return False
        return window.start_us < self.to_us and self.from_us < window.end_us


def choose(books: Books, judge: Judge, request: AuditRequest) -> tuple[list[RunName], list[RunStanding]]:
    """The runs to audit, and the standing of those passed over."""
    if request.runs:
        return [find_run(name, books, framework=request.framework) for name in dict.fromkeys(request.runs)], []
    if request.of_period and not request.pending:
        return [], []
    standings = run_standings(books, judge, request)
    due = [each.run for each in standings if each.needs_audit]
    return due, [each for each in standings if not each.needs_audit]


def find_run(name: str, books: Books, *, framework: str | None = None) -> RunName:
    """The run a user means. Raises `SubmeterError` where there is none, or more than one."""
    known = sorted({*books.episodes, *books.uses}, key=run_order)
    if framework is not None:
        known = [run for run in known if run[0] == framework.lower()]
    whole = [run for run in known if run_text(run) == name or run_text(run).lower() == name.lower()]
    found = whole or [run for run in known if run[1] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise SubmeterError(
            f"More than one run is called {name}.",
            f"There are: {', '.join(run_text(run) for run in found[:_NAMED_MAX])}.",
            f"Name its framework too: submeter audit {run_text(found[0])}",
        )
    raise SubmeterError(
        f"There is no run called {name}.",
        "No mark and no call of this ledger names it.",
        "See which runs there are with: submeter runs",
    )


def run_standings(books: Books, judge: Judge, request: AuditRequest) -> tuple[RunStanding, ...]:
    """Every run of the framework asked for (all, if none is), by its begin: whether it needs an audit."""
    last: dict[RunName, StoredVerdict] = {}
    attempts: dict[RunName, int] = {}
    for verdict in books.verdicts:
        if verdict.scope == "run" and verdict.run is not None:
            last[verdict.run] = verdict
            attempts[verdict.run] = attempts.get(verdict.run, 0) + 1
    wanted = [run for run, each in books.episodes.items() if each and request.framework in (None, run[0])]
    return tuple(
        _run_standing(run, books, judge, request, last.get(run), attempts.get(run, 0))
        for run in sorted(wanted, key=lambda run: (books.episodes[run][0].started_us, run_order(run)))
    )


def _run_standing(
    run: RunName, books: Books, judge: Judge, request: AuditRequest, last: StoredVerdict | None, attempts: int
) -> RunStanding:
    ends = [episode.ended_us for episode in books.episodes[run]]
    ended_us = None if None in ends else max(end for end in ends if end is not None)
    age_min = None if ended_us is None else max(0, books.now_us - ended_us) // US_PER_MINUTE
    return RunStanding(
        run=run,
        waiting=_waiting(run, books, judge, request, last, age_min),
        ended_us=ended_us,
        age_min=age_min,
        verdict=last.verdict if last else None,
        attempts=attempts,
    )


def _waiting(
    run: RunName, books: Books, judge: Judge, request: AuditRequest, last: StoredVerdict | None, age_min: int | None
) -> Waiting:
    if age_min is None:
        return Waiting.SKIPPED_NOT_ENDED
    parts: Sequence[tuple[str, Window]] = [
        (key, window) for key in books.key_ids.get(run, ()) for window in judge.parts_of(run, key)
    ]
    # A part may be final and its run's row not: an audit that died in between. The next one writes it.
    if last is not None and last.final and all(judge.standing(key, window) is not None for key, window in parts):
        return Waiting.SKIPPED_FINAL
    if last is not None or any(judge.begun(key, window) for key, window in parts):
        return Waiting.NOT_FINAL
    if age_min < request.min_age_min:
        return Waiting.SKIPPED_TOO_YOUNG
    return Waiting.SKIPPED_TOO_OLD if age_min > request.max_age_min else Waiting.NEVER_READ
