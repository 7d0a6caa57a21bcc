"""Writes verdicts down: one `audit` line a part and one a run, and gives the lines of the report.

A part is one run on one key in one chain. A verdict is a row and is never replaced. Nothing is written where a final
one stands, and nothing where an audit that read nothing has nothing new to say, so that waiting for a run to end does
not fill the ledger. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..data.clock import Clock
from ..data.journal import Journal, new_call_id, submeter_version
from . import named_calls
from .chain import Share
from .detail import LISTED_MAX, bounded, failure, part_detail
from .finding import ChainFinding, Finding
from .judge import ATTEMPTS, Judge
from .look import Look
from .questions import Asking
from .report import PartLine, RunLine, UnclaimedMinute, run_text
from .residual import inferred_counts
from .rests_on import differences
from .said_before import StoredPart
from .schedule import WAITS_FOR_ITSELF, next_read_us
from .settings import AuditSettings
from .unit import RunName
from .unknown import Because
from .verdict import Reason, Verdict
from .window import Window


class VerdictWriter:
    """Writes the verdicts of one audit."""

    def __init__(
        self, asked: Asking, look: Look, judge: Judge, *, settings: AuditSettings, journal: Journal, clock: Clock
    ) -> None:
        self._asked = asked
        self._look = look
        self._judge = judge
        self._settings = settings
        self._journal = journal
        self._clock = clock

    @staticmethod
    def settings_of(settings: AuditSettings, shift_min: int) -> dict[str, Any]:
        """The settings that verdicts rest on."""
        return {
            "submeter": submeter_version(),
            "shift_min": shift_min,
            "settle_min": settings.settle_us // 60_000_000,
            "interval_min": settings.interval_min,
            "stable_reads": settings.stable_reads,
        }

    def settings_detail(self) -> dict[str, Any]:
        """The settings that verdicts of this audit rest on."""
        return self.settings_of(self._settings, self._look.shift_min)

    def standing(self, said: StoredPart, api_key_id: str, share: Share, *, read: bool) -> PartLine:
        """The line of a part whose final verdict stands; written again where its bill was read anew and is the same."""
        if read or self._judge.read_since(api_key_id, said):
            return self.write_part(api_key_id, share, read=True, stands=said)
        return PartLine(
            audit_id=said.audit_id,
            audited_us=said.audited_us,
            api_key_id=api_key_id,
            window=share.window,
            verdict=said.verdict,
            reason=said.reason,
            final=True,
            proof=said.proof,
            stands=True,
            unchanged=False,
            runs=said.joint,
            detail={"joint": [run_text(run) for run in said.joint]} if said.joint else {},
            attempt=said.attempts,
            closed=said.closed,
        )

    def write_part(self, api_key_id: str, share: Share, *, read: bool, stands: StoredPart | None = None) -> PartLine:
        """Write the verdict of a part, unless its last row says it. `read`: whether this audit asked for its bill.

        A read is an attempt and has its row, unless the run or a call of it is open: then nothing could come of it.
        `stands`: the final verdict of before, which the bill that was read since bears out.
        """
        found, finding = self._judge.finding(api_key_id, share)
        rests_on = self._judge.rests_on(api_key_id, share).record()
        before = self._look.keys[api_key_id].said(share)
        named = named_calls.unknown_calls(self._asked, api_key_id, share.window, most=LISTED_MAX) if found.able else ()
        again_us = next_read_us(found.chain, share, finding)
        detail = part_detail(found, finding, settings=self._settings, unknown=named)
        episodes = self._look.episodes.get(share.run, ()) if share.run else ()
        detail["clock_known"] = all(episode.skew_known for episode in episodes)
        if before is not None and before.final and before.rests_on:
            detail["differs_from_final"] = list(differences(before.rests_on, rests_on))
        now_us = self._clock.now_us()
        message, request_id = failure(found.chain, share)
        unchanged = None
        if before is not None and (not read or finding.reason in WAITS_FOR_ITSELF):
            unchanged = before if _same(before, finding, rests_on, self._settings) else None
        line = PartLine(
            audit_id=unchanged.audit_id if unchanged else new_call_id(now_us),
            audited_us=unchanged.audited_us if unchanged else now_us,
            api_key_id=api_key_id,
            window=share.window,
            verdict=finding.verdict,
            reason=finding.reason,
            final=finding.final,
            proof=finding.proof,
            stands=stands is not None,
            unchanged=unchanged is not None,
            runs=finding.joint,
            detail=detail,
            attempt=(before.attempts if before else 0) + (0 if unchanged else 1),
            closed=finding.closed,
            message=message,
            request_id=request_id,
            next_read_us=None if again_us is None else max(now_us, again_us),
        )
        if unchanged is not None:
            return line
        self._append(
            line.audit_id,
            scope="part",
            run=share.run,
            api_key_id=line.api_key_id,
            window=line.window,
            verdict=line.verdict,
            reason=line.reason,
            final=line.final,
            attempt=line.attempt,
            proof=line.proof,
            rests_on=rests_on,
            next_read_us=again_us,
            detail=detail,
        )
        self._infer(line, found, finding, named)
        return line

    def _infer(
        self, line: PartLine, found: ChainFinding, finding: Finding, named: Sequence[named_calls.UnknownCall]
    ) -> None:
        """Write down what the one unknown call of a part would have used, if all that is left were its own."""
        if len(named) == 1 and Because.UNKNOWN in finding.because and (counts := inferred_counts(found, finding)):
            self._journal.append("inferred", {"audit_id": line.audit_id, "call_id": named[0].call_id, **counts})

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
        before = self._look.runs.get(run)
        final = all(part.final for part in parts) and verdict not in ATTEMPTS
        stands = before is not None and before.verdict is verdict and before.final == final
        stands = stands and (final or (before is not None and before.reason is reason))
        stands = stands and all(part.stands or part.unchanged for part in parts)
        attempts = before.attempts if before else 0
        line = RunLine(
            run=run,
            verdict=verdict,
            reason=reason,
            final=final,
            attempt=attempts + (0 if stands else 1),
            parts=tuple(parts),
            keyless=keyless,
            earlier_final=before.final_verdict if before and verdict in ATTEMPTS else None,
        )
        if not stands:
            keys = {part.api_key_id for part in parts}
            again = line.next_read_us
            self._append(
                new_call_id(self._clock.now_us()),
                scope="run",
                run=run,
                api_key_id=keys.pop() if len(keys) == 1 else None,
                window=_around(parts),
                verdict=verdict,
                reason=reason,
                final=final,
                attempt=line.attempt,
                proof=parts[0].proof if len({part.proof for part in parts}) == 1 else None,
                rests_on=None,
                next_read_us=again,
                detail=self._run_detail(line, unclaimed),
            )
        return line

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
            "closed": any(part.closed for part in line.parts),
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
        rests_on: Mapping[str, Any] | None,
        next_read_us: int | None,
        detail: dict[str, Any],
    ) -> None:
        line = {
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
            "rests_on": dict(rests_on) if rests_on is not None else None,
            "next_read_at": next_read_us,
            "detail": bounded(detail),
        }
        self._journal.append("audit", line)


def _same(before: StoredPart, finding: Finding, rests_on: Mapping[str, Any], settings: AuditSettings) -> bool:
    """Whether the last row of a part says the same, of the same bill and the same book.

    The minutes of an open run go on, and its book and its bill grow: as long as it is open that is nothing new.
    """
    if before.final or finding.final:
        return False
    if (before.verdict, before.reason, before.timing) != (finding.verdict, finding.reason, settings.timing):
        return False
    return finding.reason in WAITS_FOR_ITSELF or dict(before.rests_on) == dict(rests_on)


def _around(parts: Sequence[PartLine]) -> Window | None:
    if not parts:
        return None
    return Window(start=min(part.window.start for part in parts), end=max(part.window.end for part in parts))
