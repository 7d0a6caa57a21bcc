"""The gate before an analysis: how many runs lack a final verdict, why, and the command that audits them.

"No runs need reconciliation" is what users wait for before they use any number. It is said only when every run has a
final verdict. What this decides is words and an exit code; where each run stands is found in the audit.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..data.clock import utc

if TYPE_CHECKING:
    from ..audit.report import RunStanding
    from ..data.ledger import Ledger

NOTHING_TO_DO = "No runs need reconciliation"
_NAMED_MAX = 5
"""Runs named in one command; more are named by their age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Astray:
    """The creates that belong to no run."""

    calls: int = 0
    first: datetime | None = None
    """The begin of the first of them, UTC."""
    last: datetime | None = None
    """The end of the last."""

    @property
    def command(self) -> str:
        """The command that audits them, whole minutes around all of them."""
        if self.first is None or self.last is None:
            return "submeter audit --from TIME --to TIME"
        first = self.first.replace(second=0, microsecond=0)
        last = self.last.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return f"submeter audit --from {first:%Y-%m-%dT%H:%MZ} --to {last:%Y-%m-%dT%H:%MZ}"


def calls_astray(ledger: Ledger, framework: str | None) -> Astray:
    """The creates of a framework, or of all, that belong to no run."""
    table = ledger.query("calls_without_run", {"framework": framework})
    return astray_in(dict(zip(table.columns, row, strict=True)) for row in table.rows)


def astray_in(rows: Iterable[Mapping[str, Any]]) -> Astray:
    """The creates of these rows of `calls_without_run`."""
    rows = [row for row in rows if row["creates"]]
    return Astray(
        calls=sum(row["creates"] for row in rows),
        first=min((row["started_at"] for row in rows), default=None),
        last=max((row["ended_at"] for row in rows), default=None),
    )


def is_open(standings: Sequence[RunStanding], astray: Astray, timing: str | None = None) -> bool:
    """Whether every run has a final verdict. Calls without any run at all leave nothing that could have one.

    `timing`: `test` where the waiting rules are switched off, so that no verdict proves anything.
    """
    return timing is None and all(each.done for each in standings) and (bool(standings) or not astray.calls)


def gate_lines(standings: Sequence[RunStanding], astray: Astray, framework: str | None = None) -> list[str]:
    """Where runs stand that no audit would read now, a line for each kind, and what to do about it."""
    by_kind: dict[str, list[RunStanding]] = {}
    for each in standings:
        by_kind.setdefault(each.waiting, []).append(each)
    lines = []
    if found := by_kind.get("not_ended"):
        lines.append(
            f"{_has(found)} not ended: {_named(found)}. A run ends by its mark, with the proxy or program that began "
            "it, or 60 minutes after its last call."
        )
    if found := by_kind.get("too_young"):
        lines.append(f"{_runs(found)} ended less than --min-age ago: {_named(found)}")
    if found := by_kind.get("not_due"):
        times = [each.next_read_us for each in found if each.next_read_us is not None]
        when = f", next at {utc(min(times)):%Y-%m-%d %H:%M} UTC" if times else ""
        lines.append(f"{_has(found)} no final verdict and {_is(found)} not due yet{when}")
    if found := by_kind.get("too_old"):
        lines.append(
            f"{_runs(found)} ended more than --max-age ago and {_were(found)} never read: {_for_old(found, framework)}"
        )
    if done := [each for each in standings if each.done]:
        final = Counter(each.verdict for each in done if each.waiting != "closed")
        closed = Counter(each.verdict for each in done if each.waiting == "closed")
        said = [f"{count:,} {verdict}" for verdict, count in final.most_common()]
        said += [f"{count:,} closed as {verdict}" for verdict, count in closed.most_common()]
        lines.append(f"{_has(done)} a final verdict: {', '.join(said)}")
    if astray.calls:
        plural = "" if astray.calls == 1 else "s"
        lines.append(f"{astray.calls:,} call{plural} belong{'' if plural else 's'} to no run: {astray.command}")
    return lines


def gate_summary(standings: Sequence[RunStanding], astray: Astray, timing: str | None = None) -> str:
    """The last line: what is still to do, or that nothing is."""
    if is_open(standings, astray, timing):
        return NOTHING_TO_DO
    due = sum(each.needs_audit for each in standings)
    if due:
        return f"{due} of {len(standings)} runs need reconciliation"
    if not standings:
        return "There is no run, so nothing can be reconciled by run"
    lacking = sum(not each.done for each in standings)
    if timing is not None and not lacking:
        return f"Every run has a verdict, but of timing: {timing}, which proves nothing"
    return f"Nothing is due now; {lacking} of {len(standings)} runs have no final verdict"


def _runs(found: Sequence[RunStanding]) -> str:
    return f"{len(found):,} run{'' if len(found) == 1 else 's'}"


def _has(found: Sequence[RunStanding]) -> str:
    return f"{_runs(found)} {'has' if len(found) == 1 else 'have'}"


def _is(found: Sequence[RunStanding]) -> str:
    return "is" if len(found) == 1 else "are"


def _were(found: Sequence[RunStanding]) -> str:
    return "was" if len(found) == 1 else "were"


def _named(found: Sequence[RunStanding]) -> str:
    names = ", ".join(each.name for each in found[:_NAMED_MAX])
    return f"{names} and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else names


def _for_old(found: Sequence[RunStanding], framework: str | None) -> str:
    """The command that audits runs which are too old to be read unasked."""
    if len(found) <= _NAMED_MAX:
        return f"submeter audit {' '.join(shlex.quote(each.name) for each in found)}"
    hours = max(each.age_min or 0 for each in found) // 60 + 1
    of = f" --framework {shlex.quote(framework)}" if framework else ""
    return f"submeter audit --pending{of} --max-age {hours}h"
