"""What to audit: the request as a user makes it, and which runs it means.

`--pending` takes the runs that are not final; `--min-age` and `--max-age` bar only those that were never read. A run
named on the command line ignores both, and no rule of the audit bends for it.

Nothing is read or written here: everything comes from a `Look` and from what a `Judge` says stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..data.error import SubmeterError
from ..data.near import did_you_mean
from .judge import Judge
from .look import Look, run_order
from .report import RunStanding, Waiting, age_min, run_text
from .unit import RunName
from .verdict import FINAL
from .window import MARGIN_MIN, SHIFT_MIN, Window, minute_of

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
    """With `to_us`: all of the period, judged on every key as an unnamed run."""
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
    def of_pending(self) -> bool:
        """Whether what is pending is meant, and not runs by name or a period alone."""
        return not self.runs and (self.pending or not self.of_period)

    @property
    def of_period(self) -> bool:
        return self.from_us is not None

    @property
    def begun_in(self) -> Window | None:
        """First active minutes of the calls of the period; None: no period was asked for."""
        if self.from_us is None or self.to_us is None:
            return None
        first = minute_of(self.from_us) - MARGIN_MIN
        return Window(start=first, end=max(first + 1, minute_of(self.to_us - 1) - MARGIN_MIN + 1))


def choose(look: Look, judge: Judge, request: AuditRequest) -> tuple[list[RunName], list[RunStanding]]:
    """The runs to audit, and the standing of those passed over."""
    if request.runs:
        return [find_run(name, look, framework=request.framework) for name in dict.fromkeys(request.runs)], []
    if request.of_period and not request.pending:
        return [], []
    standings = run_standings(look, judge, request)
    due = [each.run for each in standings if each.needs_audit]
    return due, [each for each in standings if not each.needs_audit]


def find_run(name: str, look: Look, *, framework: str | None = None) -> RunName:
    """The run a user means. Raises `SubmeterError` where there is none, or more than one."""
    known = look.known_runs
    if framework is not None:
        known = [run for run in known if run[0] == framework.lower()]
    lowered = name.lower()
    whole = [run for run in known if run_text(run).lower() == lowered]
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
        f"{did_you_mean(name, map(run_text, known))}No begin mark and no call of this ledger names it.",
        "See which runs there are with: submeter runs",
    )


def run_standings(look: Look, judge: Judge, request: AuditRequest) -> tuple[RunStanding, ...]:
    """Every run of the framework asked for (all, if none is), by its begin: whether it needs an audit.

    Raises `SubmeterError` for a framework that nothing in the ledger names: a misspelt one would always be done.
    """
    known = {run[0] for run in look.known_runs}
    if request.framework is not None and request.framework not in known:
        named = ", ".join(sorted(name for name in known if name is not None)) or "none"
        raise SubmeterError(
            f"There is no run of a framework called {request.framework}.",
            f"{did_you_mean(request.framework, filter(None, known))}Frameworks with runs in this ledger: {named}.",
            "See which runs there are with: submeter runs",
        )
    wanted = [run for run, each in look.episodes.items() if each and request.framework in (None, run[0])]
    wanted.sort(key=lambda run: (look.episodes[run][0].started_us, run_order(run)))
    later = (_run_standing(run, look, judge, request) for run in wanted)
    if look.past is None:
        return tuple(later)
    before = look.past.standings_at(look.now_us, framework=request.framework, max_age_min=request.max_age_min)
    if before is None:
        raise ValueError("a run of the past is due, and the past was not looked at")
    return (*before, *later)


def _run_standing(run: RunName, look: Look, judge: Judge, request: AuditRequest) -> RunStanding:
    ended_us = look.ended_us(run)
    age = age_min(ended_us, look.now_us)
    waiting, next_read_us = _waiting(run, look, judge, request, age)
    last = look.runs.get(run)
    return RunStanding(
        run=run,
        waiting=waiting,
        ended_us=ended_us,
        age_min=age,
        verdict=last.verdict if last else None,
        attempts=last.attempts if last else 0,
        next_read_us=next_read_us,
    )


def _waiting(
    run: RunName, look: Look, judge: Judge, request: AuditRequest, age: int | None
) -> tuple[Waiting, int | None]:
    """Where a run stands, and when it is due where it is not yet."""
    if age is None:
        return Waiting.NOT_ENDED, None
    last = look.runs.get(run)
    parts = look.parts_of(run)
    # A part may be final and its run's row not: an audit that died in between. The next one writes it.
    if last is not None and last.final and all(judge.standing(key, share) is not None for key, share in parts):
        return (Waiting.FINAL if last.verdict in FINAL else Waiting.CLOSED), None
    said = [(key, share, look.keys[key].said(share)) for key, share in parts]
    if (
        last is not None
        or any(part is not None for _, _, part in said)
        or any(judge.was_read(key, share.window) for key, share in parts)
    ):
        later = [
            part.next_read_us
            for key, share, part in said
            if part is not None
            and not part.final
            and part.next_read_us is not None
            and part.next_read_us > look.now_us
            and judge.waits_the_same(part)
            and not judge.read_since(key, part)
            and not judge.ground_differs(key, share, part)
        ]
        open_ = [part for _, _, part in said if part is None or not part.final]
        if last is not None and open_ and len(later) == len(open_) and not last.final:
            return Waiting.NOT_DUE, min(later)
        return Waiting.NOT_FINAL, None
    if age < request.min_age_min:
        return Waiting.TOO_YOUNG, None
    return (Waiting.TOO_OLD if age > request.max_age_min else Waiting.NEVER_READ), None
