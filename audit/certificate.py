"""A certificate: one JSON document of a run's final verdict, from which anybody can derive it again, offline.

It holds every span that the run has a share in: a record and a digest of each of its calls, the run episodes and gaps
on that key, and the raw pages of every read of it; of each part the window, both books, the verdict and what proves it;
and the settings and versions. A seal over all of it tells a change, and `certificate_check` derives the rest again:
minute book, span, cut, parts and verdict. That shows a wrong derivation, not a forgery: pages and calls can be made up
together, and sealed. Against that its SHA-256 must have been published where it cannot be changed later. No verdict
reached with the waiting rules switched off gets one.

Never here: a key, a prompt, a completion; a certificate may be published.
"""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.journal import submeter_version
from ..data.ledger import Ledger
from . import questions
from .bucket import UsageEndpoint
from .certificate_check import FORMAT, said, units_of, verify_certificate
from .certificate_seal import seal, written
from .certified import CALLS_MAX, CertifiedCall, call_record, certified_calls, minute_book
from .choice import AuditRequest, find_run
from .judge import PLACED_CALLS_MAX, Judge, Judged
from .keybook import Books, read_books
from .place_part import place_part
from .placement import Placement
from .questions import Asking, RunName, StoredRead, asking
from .reads import PageStore
from .reconcile import Finding, Proof
from .report import run_text, run_verdict
from .settings import INTERVAL, AuditSettings
from .verdict import Reason, Verdict
from .window import Window

CANNOT_SEE = (
    "work billed to other keys than those audited",
    "what the provider bills after the last read",
    "work billed as batch, which is set aside in the open",
    "two errors of exactly equal tokens that cancel out",
    "work past the meter that is billed after the minute at which a span was cut: it is judged with the later part",
)
"""What even `verified` does not exclude; said in every certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A part's verdict, as a run's is made from it."""

    verdict: Verdict
    reason: Reason | None


def make_certificate(
    ledger: Ledger, *, run: str, request: AuditRequest, settings: AuditSettings, clock: Clock, store: PageStore
) -> bytes:
    """The certificate of a run whose verdict is final. Raises `SubmeterError` where there can be none."""
    ledger.ingest()
    with asking(ledger) as asked:
        now_us = clock.now_us()
        books = read_books(asked, now_us=now_us, shift_min=request.shift_min, configured=settings.framework_key_ids)
        judge = Judge(asked, books, reads=questions.reads(asked, list(books.keys)), store=store, settings=settings)
        found = find_run(run, books, framework=request.framework)
        lines: list[_Line] = []
        spans = []
        pages: dict[str, str] = {}
        for key in books.key_ids.get(found, ()):
            for span in books.spans_of(found, key):
                judged = _judged(judge, books, found, key, span, settings)
                lines += [_Line(verdict=each.finding.verdict, reason=each.finding.reason) for each in judged]
                spans.append(_span(asked, judge, books, store, found, key, span, judged, pages))
    keyless = books.keyless(found)
    verdict, reason = run_verdict(lines, keyless=keyless)
    document = {
        "format": FORMAT,
        "made_at": now_us,
        "submeter": submeter_version(),
        "run": run_text(found),
        "episodes": [_times(each.started_us, each.ended_us) for each in books.episodes.get(found, ())],
        "calls_by_key": {
            key: sum(use.creates for use in books.uses.get(found, ()) if use.api_key_id == key)
            for key in books.key_ids.get(found, ())
        },
        "keyless_calls": keyless,
        "verdict": verdict,
        "reason": reason,
        "settings": {
            "shift_min": request.shift_min,
            "settle_us": settings.settle_us,
            "interval_us": settings.interval_us,
            "stable_reads": settings.stable_reads,
        },
        "cannot_see": CANNOT_SEE,
        "spans": spans,
        "pages": pages,
    }
    data = written({**document, "seal": seal(document)})
    problems = verify_certificate(data).problems
    if problems:
        raise SubmeterError(
            f"There is no certificate for {run_text(found)}.",
            f"Its verdict could not be derived again from what would be in it: {problems[0]}",
            f"Audit it again and retry: submeter audit {run_text(found)} --force",
            exit_code=3,
        )
    return data


def _judged(judge: Judge, books: Books, run: RunName, key: str, span: Window, settings: AuditSettings) -> list[Judged]:
    """The parts of a span that a run has a share in. Raises `SubmeterError` where one has no final verdict."""
    times = books.minutes(run, key)
    found = []
    for window in judge.parts(key, span):
        if any(window.meets(*each) for each in times):
            judged = judge.judge(key, window)
            if not judged.finding.final or settings.timing is not None or judge.standing(key, window) is None:
                raise _no_certificate(run_text(run), judged.finding, settings)
            found.append(judged)
    return found


def _span(
    asked: Asking,
    judge: Judge,
    books: Books,
    store: PageStore,
    run: RunName,
    key: str,
    span: Window,
    judged: Sequence[Judged],
    pages: dict[str, str],
) -> dict[str, Any]:
    calls = certified_calls(asked, key, span)
    if len(calls) > CALLS_MAX:
        raise SubmeterError(
            f"There is no certificate for {run_text(run)}.",
            f"A certificate lists each call, at most {CALLS_MAX:,}; {key} made more without a pause.",
            "Leave ten minutes without a call between runs, or give each framework its own key.",
            exit_code=3,
        )
    reads = {
        each: [read for read in reversed(judge.latest(key, each)) if _meet(read.window, span)] for each in UsageEndpoint
    }
    shown = None
    if judged[0].part.key_proven and not any(read.good and read.rows for each in reads.values() for read in each):
        shown = _showing(judge, key)
    for read in [*(read for each in reads.values() for read in each), *([shown[1]] if shown else [])]:
        for digest in read.pages if read.good else ():
            body = store.body(digest)
            if body is not None and digest not in pages:
                pages[digest] = base64.b64encode(gzip.compress(body, mtime=0)).decode()
    placed: dict[int, int] = {}
    parts = [_part(each, calls, books.shift_min, placed) for each in judged]
    return {
        "api_key_id": key,
        "window": asdict(span),
        "calls": [call_record(call, placed.get(number)) for number, call in enumerate(calls)],
        "episodes": [
            {"run": run_text(each.run), **_times(each.started_us, each.ended_us)}
            for each in books.episodes_in(key, span)
        ],
        "gaps": [asdict(gap) for gap in books.gaps_in(span)],
        "reads": {endpoint.value: [_read(read) for read in each] for endpoint, each in reads.items()},
        "key_shown": None if shown is None else {"usage_endpoint": shown[0], **_read(shown[1])},
        "parts": parts,
    }


def _part(judged: Judged, calls: Sequence[CertifiedCall], shift_min: int, placed: dict[int, int]) -> dict[str, Any]:
    """One part; where its calls can be placed, `placed` gets the minute of each."""
    part, finding = judged.part, judged.finding
    proof = finding.proof
    if finding.verdict is Verdict.VERIFIED:
        inside = [number for number, call in enumerate(calls) if call.active(shift_min)[0] + 1 in part.window]
        proof = Proof.CORRIDOR
        if len(inside) <= PLACED_CALLS_MAX:
            rows, members = minute_book([calls[number] for number in inside], shift_min)
            search = place_part(
                part.window,
                book=rows,
                bill=[row for history in part.histories.values() for row in history.bill],
                comparison=finding.comparison,
                shift_min=shift_min,
                now_s=time.monotonic,
            )
            left = {row: iter(numbers) for row, numbers in enumerate(members)}
            for put in search.witness:
                for _ in range(put.calls):
                    placed[inside[next(left[put.kind])]] = put.minute
            proof = Proof.PLACED if search.outcome is Placement.PLACED else Proof.CORRIDOR
    return {
        "window": asdict(part.window),
        "verdict": finding.verdict,
        "reason": finding.reason,
        "proof": proof,
        "units": units_of(finding),
        "unknown_calls": sum(call.calls for call in finding.unknown),
    }


def _showing(judge: Judge, key: str) -> tuple[UsageEndpoint, StoredRead] | None:
    """A good read of the key that shows a row, to prove that its bill can be seen."""
    for endpoint in UsageEndpoint:
        for read in judge.latest_good(key, endpoint):
            if read.rows:
                return endpoint, read
    return None


def _read(read: StoredRead) -> dict[str, Any]:
    return {
        "read_id": read.read_id,
        "asked_at": read.asked_us,
        "window": asdict(read.window),
        "good": read.good,
        "problem": read.problem,
        "pages": list(read.pages) if read.good else [],
    }


def _times(started_us: int, ended_us: int | None) -> Mapping[str, int | None]:
    return {"started_us": started_us, "ended_us": ended_us}


def _meet(one: Window, other: Window) -> bool:
    return one.start < other.end and other.start < one.end


def _no_certificate(name: str, finding: Finding, settings: AuditSettings) -> SubmeterError:
    why = f"A part of it is {said(finding.verdict, finding.reason)}; only a final verdict that stands gets one."
    mend = f"Audit it to the end first: submeter audit {name} --wait"
    if settings.timing is not None:
        why = "The waiting rules are switched off (timing: test)."
        mend = f"Audit it with them: leave {INTERVAL} out, or set it to 30."
    return SubmeterError(
        f"There is no certificate for {name}.",
        why,
        mend,
        exit_code=3,
    )
