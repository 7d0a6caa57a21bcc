"""Writes verdicts down: one `audit` line a part and one a run, and gives the lines of the report.

A verdict is a row and is never replaced. Nothing is written where a final one stands, and nothing where an audit that
read nothing has nothing new to say, so that waiting for a run to end does not fill the ledger. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..data.clock import Clock
from ..data.journal import Journal, new_call_id, submeter_version
from . import named_calls
from .bucket import UsageEndpoint
from .detail import LISTED_MAX, bounded, failure, next_read_us, part_detail
from .judge import ATTEMPTS, Judged
from .keybook import Books
from .questions import Asking, RunName, StoredVerdict
from .report import PartLine, RunLine, UnclaimedMinute
from .residual import inferred_counts
from .settings import AuditSettings
from .span import Window
from .verdict import Reason, Verdict

STILL_OPEN = frozenset({Reason.RUN_OPEN, Reason.CALL_OPEN})
"""Nothing that is read changes these; only an end does."""


class VerdictWriter:
    """Writes the verdicts of one audit."""

    def __init__(self, asked: Asking, books: Books, *, settings: AuditSettings, journal: Journal, clock: Clock) -> None:
        self._asked = asked
        self._books = books
        self._settings = settings
        self._journal = journal
        self._clock = clock

    def settings_detail(self) -> dict[str, Any]:
        """The settings that verdicts of this audit rest on."""
        return {
            "submeter": submeter_version(),
            "shift_min": self._books.shift_min,
            "settle_min": self._settings.settle_us // 60_000_000,
            "interval_min": self._settings.interval_min,
            "stable_reads": self._settings.stable_reads,
        }

    def standing(self, verdict: StoredVerdict, api_key_id: str, window: Window) -> PartLine:
        """The line of a part whose final verdict stands."""
        return PartLine(
            audit_id=verdict.audit_id,
            audited_us=verdict.audited_us,
            api_key_id=api_key_id,
            window=window,
            verdict=verdict.verdict,
            reason=verdict.reason,
            final=True,
            proof=verdict.proof,
            stands=True,
            unchanged=False,
            runs=tuple(self._books.runs_in(api_key_id, window)),
            detail={},
        )

    def write_part(self, judged: Judged, *, read: bool) -> PartLine:
        """Write the verdict of a part, unless its last row says it. `read`: whether this audit asked for its bill.

        A read is an attempt and has its row, unless a run or a call is open: then nothing could come of it.
        """
        part, finding = judged.part, judged.finding
        runs = self._books.runs_in(part.api_key_id, part.window)
        named = (
            named_calls.unknown_calls(self._asked, part.api_key_id, part.window, most=LISTED_MAX)
            if finding.unknown
            else ()
        )
        detail = part_detail(judged, settings=self._settings, runs=runs, unknown=named)
        now_us = self._clock.now_us()
        message, request_id = failure(part)
        said = None if read and finding.reason not in STILL_OPEN else self._said_before(judged)
        line = PartLine(
            audit_id=said.audit_id if said else new_call_id(now_us),
            audited_us=said.audited_us if said else now_us,
            api_key_id=part.api_key_id,
            window=part.window,
            verdict=finding.verdict,
            reason=finding.reason,
            final=finding.final,
            proof=finding.proof,
            stands=False,
            unchanged=said is not None,
            runs=tuple(runs),
            detail=detail,
            message=message,
            request_id=request_id,
            next_read_us=next_read_us(part, finding, now_us=now_us),
        )
        if said is not None:
            return line
        self._append(
            line.audit_id,
            scope="part",
            run=runs[0] if len(runs) == 1 else None,
            api_key_id=line.api_key_id,
            window=line.window,
            verdict=line.verdict,
            reason=line.reason,
            final=line.final,
            attempt=self.part_attempts(line.api_key_id, line.window) + 1,
            proof=line.proof,
            detail=detail,
        )
        if len(named) == 1 and (counts := inferred_counts(finding)) is not None:
            self._journal.append("inferred", {"audit_id": line.audit_id, "call_id": named[0].call_id, **counts})
        return line

    def write_run(
        self,
        run: RunName,
        parts: Sequence[PartLine],
        *,
        verdict: Verdict,
        reason: Reason | None,
        keyless: int,
        unclaimed: Sequence[UnclaimedMinute],
    ) -> RunLine:
        """Write the verdict of a run, unless all that it rests on was written before and so was the verdict."""
        before = [each for each in self._books.verdicts if each.scope == "run" and each.run == run]
        final = all(part.final for part in parts)
        earlier = next((each.verdict for each in reversed(before) if each.final), None)
        stands = bool(before) and before[-1].verdict is verdict and before[-1].final == final
        stands = stands and (final or before[-1].reason is reason)
        stands = stands and all(part.stands or part.unchanged for part in parts)
        attempt = len(before) + (0 if stands else 1)
        line = RunLine(
            run=run,
            verdict=verdict,
            reason=reason,
            final=final,
            attempt=attempt,
            parts=tuple(parts),
            keyless=keyless,
            earlier_final=earlier if verdict in ATTEMPTS else None,
        )
        if not stands:
            keys = {part.api_key_id for part in parts}
            self._append(
                new_call_id(self._clock.now_us()),
                scope="run",
                run=run,
                api_key_id=keys.pop() if len(keys) == 1 else None,
                window=_around(parts),
                verdict=verdict,
                reason=reason,
                final=final,
                attempt=attempt,
                proof=parts[0].proof if len({part.proof for part in parts}) == 1 else None,
                detail=self._run_detail(line, unclaimed),
            )
        return line

    def _said_before(self, judged: Judged) -> StoredVerdict | None:
        """The last row of a part, if it says the same of the same bill and the same book.

        The minutes of an open run go on, and its book and its bill grow: as long as it is open that is nothing new.
        """
        part, finding = judged.part, judged.finding
        rows = [
            each
            for each in self._books.verdicts
            if each.scope == "part"
            and each.api_key_id == part.api_key_id
            and each.window is not None
            and each.window.start == part.window.start
        ]
        last = rows[-1] if rows else None
        same = (
            last is not None
            and not last.final
            and not finding.final
            and (last.verdict, last.reason, last.timing) == (finding.verdict, finding.reason, self._settings.timing)
            and (finding.verdict is Verdict.PENDING or last.book_state == judged.book_state)
            and (finding.reason in STILL_OPEN or dict(last.latest_reads) == _named(judged.latest_reads))
        )
        return last if same else None

    def part_attempts(self, api_key_id: str, window: Window) -> int:
        """How often these minutes of this key were judged before this audit."""
        return sum(
            each.scope == "part" and each.api_key_id == api_key_id and each.window == window
            for each in self._books.verdicts
        )

    def _run_detail(self, line: RunLine, unclaimed: Sequence[UnclaimedMinute]) -> dict[str, Any]:
        single = line.parts[0].detail if len(line.parts) == 1 else {}
        return {
            **self.settings_detail(),
            "parts": [
                {
                    "audit_id": part.audit_id,
                    "api_key_id": part.api_key_id,
                    "window_start": part.window.start_us,
                    "window_end": part.window.end_us,
                    "verdict": part.verdict,
                    "reason": part.reason,
                    "stands": part.stands,
                }
                for part in line.parts[:LISTED_MAX]
            ],
            "parts_count": len(line.parts),
            "joint": any(part.joint for part in line.parts),
            "keyless_calls": line.keyless,
            "message": line.message,
            "unclaimed": [asdict(each) for each in unclaimed[:LISTED_MAX]],
            "unclaimed_count": len(unclaimed),
            "units": single.get("units", []),
            "unknown": single.get("unknown"),
            "uncompared": single.get("uncompared", []),
            "set_aside": single.get("set_aside", []),
        }

    def _append(
        self,
        audit_id: str,
        *,
        scope: str,
        run: RunName | None,
        api_key_id: str | None,
        window: Window | None,
        verdict: Verdict,
        reason: Reason | None,
        final: bool,
        attempt: int,
        proof: str | None,
        detail: dict[str, Any],
    ) -> None:
        self._journal.append(
            "audit",
            {
                "audit_id": audit_id,
                "audited_at": self._clock.now_us(),
                "scope": scope,
                "framework": run[0] if run else None,
                "run_id": run[1] if run else None,
                "api_key_id": api_key_id,
                "window_start": window.start_us if window else None,
                "window_end": window.end_us if window else None,
                "verdict": verdict,
                "reason": reason,
                "final": final,
                "timing": self._settings.timing,
                "attempt": attempt,
                "proof": proof,
                "detail": bounded(detail),
            },
        )


def _named(latest_reads: Mapping[UsageEndpoint, str]) -> dict[str, str]:
    return {endpoint.value: read_id for endpoint, read_id in latest_reads.items()}


def _around(parts: Sequence[PartLine]) -> Window | None:
    if not parts:
        return None
    return Window(start=min(part.window.start for part in parts), end=max(part.window.end for part in parts))
