"""Derives the verdict of a certificate again, from the document alone, and says in words what does not follow.

Nothing that follows from something else in the document is believed: the minute book is made from the calls, the span
from the minutes in which calls and runs were active, the cut and the parts from both books, the bill from the raw
pages, the time of a read from its id, each verdict by the rules. The seal tells any other change. What none of this can
show is a forgery: calls and pages made up together, and sealed again.

Pure, but for the clock that bounds the search for a placement. Never here: the ledger, a key, the network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ..data.call import Standing
from ..data.clock import utc
from ..data.error import SubmeterError
from .bucket import UsageEndpoint
from .certificate_pages import Read, read_of
from .certificate_seal import seal, written
from .certified import CertifiedCall, minute_book, placed_whole, read_call
from .cut import cut
from .history import SeenRead, make_history
from .judge import PLACED_CALLS_MAX
from .place_part import place_part
from .placement import Placed, Placement
from .reconcile import Finding, Part, Proof, reconcile
from .report import run_verdict
from .unknown import Gap
from .verdict import Reason, Verdict
from .window import Window, active_minutes, minute_of, spans

FORMAT = "submeter certificate 2"
PAGE_BYTES_MAX = 256 * 1024 * 1024
WINDOW_MIN_MAX = 800 * 24 * 60
"""As many minutes as the pages of one read can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of deriving a certificate's verdict again."""

    run: str
    verdict: str
    """As the certificate says it."""
    sha256: str
    """Of the document: what must have been published elsewhere."""
    problems: tuple[str, ...]
    """Everything that does not follow; empty: the verdict follows from the pages and the calls."""
    rules: str
    """The settings that it was reached with, in words: whoever reads it decides whether they are strict enough."""
    submeter: str
    """The version that made it, as it says."""

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A part's verdict, as a run's is made from it."""

    verdict: Verdict
    reason: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    shift_min: int
    settle_us: int
    interval_us: int
    stable_reads: int

    @property
    def text(self) -> str:
        settle, interval = self.settle_us // 60_000_000, self.interval_us // 60_000_000
        return f"shift {self.shift_min} min, settle {settle} min, {self.stable_reads} equal reads {interval} min apart"


def said(verdict: Verdict, reason: object) -> str:
    """A verdict with its reason."""
    return f"{verdict} ({reason})" if reason else str(verdict)


def units_of(finding: Finding) -> list[dict[str, Any]]:
    """Both books of a part, unit by unit."""
    return [
        {
            "usage_endpoint": unit.pair.usage_endpoint,
            "model": unit.pair.model,
            "field": unit.field,
            "book": unit.book,
            "bill": unit.bill,
            "compared": not unit.uncompared,
        }
        for unit in finding.comparison.units
    ]


def verify_certificate(data: bytes) -> Verification:
    """Derive a certificate's verdict again. Raises `SubmeterError` for what is none."""
    try:
        document = orjson.loads(data)
        if document["format"] != FORMAT:
            raise KeyError("format")
        problems: list[str] = []
        if document["seal"] != seal(document):
            problems.append("It was changed after it was made: its seal does not fit.")
        if written(document) != data:
            problems.append(
                "It is not written as certificates are: a name is given twice, or it was laid out anew, "
                "and what a reader sees in it need not be what is sealed."
            )
        rules = _rules(document["settings"], problems)
        return Verification(
            run=str(document["run"]),
            verdict=str(document["verdict"]),
            sha256=hashlib.sha256(data).hexdigest(),
            problems=tuple(dict.fromkeys([*problems, *_Check(document, rules).problems()])),
            rules=rules.text,
            submeter=str(document["submeter"]),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise SubmeterError(
            "This is not a certificate that can be checked.",
            f"It is torn, or of another format ({type(error).__name__}: {str(error)[:200]!r}).",
            "Make one with: submeter audit RUN --certificate FILE",
        ) from error


def _rules(told: Mapping[str, Any], problems: list[str]) -> _Rules:
    if any(type(value) is not int or value < 0 for value in told.values()):
        raise TypeError("a setting is no whole number")
    rules = _Rules(**told)
    if rules.interval_us <= 0 or rules.stable_reads < 1:
        problems.append("It was reached with the waiting rules switched off.")
    return rules


class _Check:
    """One document, derived again."""

    def __init__(self, document: Mapping[str, Any], rules: _Rules) -> None:
        self._document = document
        self._rules = rules
        self._made_at: int = document["made_at"]
        self._problems: list[str] = []
        self._pages = self._read_pages()
        self._run: str = document["run"]
        self._episodes = [(each["started_us"], each["ended_us"]) for each in document["episodes"]]

    def problems(self) -> list[str]:
        """Everything that does not follow, in words."""
        document = self._document
        seen: Counter[str] = Counter()
        calls_of: dict[str, list[CertifiedCall]] = {key: [] for key in document["calls_by_key"]}
        windows: dict[str, list[Window]] = {key: [] for key in document["calls_by_key"]}
        lines: list[_Line] = []
        for told in document["spans"]:
            key = told["api_key_id"]
            if key not in calls_of:
                self._problems.append(f"{key}: the run is said not to have been on this key, and its minutes are here.")
                continue
            calls = [self._call(each) for each in told["calls"]]
            seen.update(call.call_id for call in calls)
            calls_of[key] += [call for call in calls if call.run == self._run]
            window = Window(**told["window"])
            if any(window.meets(other.start, other.end - 1) for other in windows[key]):
                self._problems.append(f"{key} {_text(window)}: minutes are in two spans.")
            windows[key].append(window)
            lines += self._span(told, calls)
        twice = sum(number > 1 for number in seen.values())
        if twice:
            self._problems.append(f"{twice} calls are listed twice.")
        for key, number in document["calls_by_key"].items():
            if len(calls_of[key]) != number:
                found = len(calls_of[key])
                self._problems.append(f"{key}: the run made {number} calls on it, and {found} of them are here.")
            times = [*self._run_minutes, *(call.open_minutes for call in calls_of[key])]
            if not all(any(window.meets(*each) for window in windows[key]) for each in times):
                self._problems.append(f"{key}: minutes of the run are in no span that is here.")
        verdict, reason = run_verdict(lines, keyless=document["keyless_calls"])
        if (verdict, reason) != (document["verdict"], document["reason"]):
            told_so = said(document["verdict"], document["reason"])
            self._problems.append(f"The run is {said(verdict, reason)}, not {told_so}.")
        return self._problems

    @property
    def _run_minutes(self) -> list[tuple[int, int]]:
        return [self._minutes(*each) for each in self._episodes]

    def _minutes(self, started_us: int, ended_us: int | None) -> tuple[int, int]:
        return minute_of(started_us), minute_of(max(started_us, self._made_at if ended_us is None else ended_us))

    def _call(self, told: Mapping[str, Any]) -> CertifiedCall:
        call = read_call(told)
        if call.digest != told["digest"]:
            self._problems.append(f"Call {call.call_id} is not what its digest says.")
        return call

    def _span(self, told: Mapping[str, Any], calls: Sequence[CertifiedCall]) -> list[_Line]:
        """Derive a span and its parts; the verdicts of those that the run has a share in."""
        shift = self._rules.shift_min
        window = Window(**told["window"])
        if window.end - window.start > WINDOW_MIN_MAX:
            raise ValueError("a span of more minutes than can be read")
        name = f"{told['api_key_id']} {_text(window)}"
        episodes = [(each["run"], each["started_us"], each["ended_us"]) for each in told["episodes"]]
        active = [call.active(shift) for call in calls]
        for _, started, ended in episodes:
            active.append(active_minutes(started, self._made_at if ended is None else ended, shift_min=shift))
        derived = spans(active)
        follows = derived == (window,)
        if not follows:
            found = ", ".join(map(_text, derived[:9])) or "never"
            self._problems.append(f"{name}: its calls and runs are active {found}.")
        own = {(started, ended) for run, started, ended in episodes if run == self._run}
        if own != {each for each in self._episodes if window.meets(*self._minutes(*each))}:
            self._problems.append(f"{name}: the run's own times are not those of the document.")
        gaps = [Gap(**gap) for gap in told["gaps"]]
        reads = {each: self._reads(each, told, name) for each in UsageEndpoint}
        bill = [row for each in reads.values() for read in each for row in read.rows]
        if shown := told["key_shown"]:
            endpoint = UsageEndpoint(shown["usage_endpoint"])
            bill += self._read(endpoint, told["api_key_id"], shown, name).rows
        proven = any(row.input_tokens or row.output_tokens or row.images for row in bill)
        runs = [minutes for _, *times in episodes if window.meets(*(minutes := self._minutes(*times)))]
        times = [*self._run_minutes, *(call.open_minutes for call in calls if call.run == self._run)]
        expected = [
            part
            for part in (self._cut(window, calls, gaps, reads, runs) if follows else ())
            if any(part.meets(*each) for each in times)
        ]
        if follows and expected != [Window(**part["window"]) for part in told["parts"]]:
            found = ", ".join(map(_text, expected)) or "none"
            self._problems.append(f"{name}: the parts that the run has a share in are {found}.")
        placed = [Window(**part["window"]) for part in told["parts"] if part["proof"] == Proof.PLACED]
        for call, record, (first, _) in zip(calls, told["calls"], active, strict=False):
            counted = call.standing == Standing.COUNTED
            if record["placed"] is not None and not (counted and any(first + 1 in part for part in placed)):
                self._problems.append(f"{name}: call {record['call_id']} is placed, and no placement proves anything.")
        return [
            self._part(told["api_key_id"], part, told["calls"], calls, gaps, reads, proven) for part in told["parts"]
        ]

    def _cut(
        self,
        span: Window,
        calls: Sequence[CertifiedCall],
        gaps: Sequence[Gap],
        reads: Mapping[UsageEndpoint, Sequence[Read]],
        runs: Sequence[tuple[int, int]],
    ) -> tuple[Window, ...]:
        latest = [
            next((read for read in reversed(each) if read.good and span.start in read.window), None)
            for each in reads.values()
        ]
        found = [read for read in latest if read is not None]
        if not runs or len(found) < len(latest):
            return (span,)
        known = Window(start=span.start, end=min([span.end, *(read.window.end for read in found)]))
        return cut(
            span,
            book=minute_book(calls, self._rules.shift_min)[0],
            gaps=gaps,
            bill=[row for read in found for row in read.rows if row.minute in known],
            known_until=known.end,
            runs=runs,
            shift_min=self._rules.shift_min,
        )

    def _part(
        self,
        api_key_id: str,
        told: Mapping[str, Any],
        records: Sequence[Mapping[str, Any]],
        calls: Sequence[CertifiedCall],
        gaps: Sequence[Gap],
        reads: Mapping[UsageEndpoint, Sequence[Read]],
        proven: bool,
    ) -> _Line:
        shift = self._rules.shift_min
        window = Window(**told["window"])
        name = f"{api_key_id} {_text(window)}"
        inside = [number for number, call in enumerate(calls) if call.active(shift)[0] + 1 in window]
        histories = {}
        for endpoint, each in reads.items():
            seen, states = [], {}
            for read in each:
                if read.window.covers(window):
                    rows = [row for row in read.rows if row.minute in window]
                    state = hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()
                    states[state] = rows
                    seen.append(SeenRead(attempt=read.attempt, state=state))
            histories[endpoint] = make_history(endpoint, seen, states)
        part = Part(
            api_key_id=api_key_id,
            window=window,
            histories=histories,
            book=minute_book([calls[number] for number in inside], shift)[0],
            gaps=[gap for gap in gaps if window.meets(gap.first_minute, gap.last_minute)],
            key_proven=proven,
            stable_reads=self._rules.stable_reads,
            interval_us=self._rules.interval_us,
            settle_us=self._rules.settle_us,
            shift_min=shift,
        )
        finding = reconcile(part)
        proof = None if told["proof"] is None else Proof(told["proof"])
        if finding.verdict is Verdict.VERIFIED:
            placed = {number: records[number]["placed"] for number in inside}
            finding = reconcile(replace(part, placed=self._placement(part, finding, proof, calls, placed)))
        if (finding.verdict, finding.reason) != (told["verdict"], told["reason"]):
            told_so = said(told["verdict"], told["reason"])
            self._problems.append(f"{name}: it is {said(finding.verdict, finding.reason)}, not {told_so}.")
        elif proof is Proof.PLACED and finding.proof is not Proof.PLACED:
            self._problems.append(f"{name}: its calls are not placed so that every minute is equal.")
        elif (proof is None) != (finding.proof is None):
            self._problems.append(f"{name}: it is proven by {finding.proof}, not by {told['proof']}.")
        if units_of(finding) != told["units"]:
            self._problems.append(f"{name}: the two books are not what they are said to be.")
        unknown = sum(call.calls for call in finding.unknown)
        if unknown != told["unknown_calls"]:
            self._problems.append(f"{name}: {unknown} calls are unknown, not {told['unknown_calls']}.")
        return _Line(verdict=finding.verdict, reason=finding.reason)

    def _placement(
        self,
        part: Part,
        finding: Finding,
        proof: Proof | None,
        calls: Sequence[CertifiedCall],
        placed: Mapping[int, int | None],
    ) -> Placed | None:
        """What the placement in the document shows; where there is none, what a search finds against it."""
        bill = [row for history in part.histories.values() for row in history.bill]
        if proof is Proof.PLACED:
            holds = placed_whole(finding, part.window, bill, calls, placed, self._rules.shift_min)
            return Placed(outcome=Placement.PLACED if holds else Placement.NOT_DECIDED)
        if len(placed) > PLACED_CALLS_MAX:
            return None
        return place_part(
            part.window,
            book=part.book,
            bill=bill,
            comparison=finding.comparison,
            shift_min=self._rules.shift_min,
            now_s=time.monotonic,
        )

    def _reads(self, endpoint: UsageEndpoint, told: Mapping[str, Any], name: str) -> list[Read]:
        found = [self._read(endpoint, told["api_key_id"], each, name) for each in told["reads"][endpoint]]
        if found != sorted(found, key=lambda each: each.attempt.asked_at):
            self._problems.append(f"{name}: the reads of {endpoint} are not in order.")
        return found

    def _read(self, endpoint: UsageEndpoint, api_key_id: str, told: Mapping[str, Any], name: str) -> Read:
        read, problem = read_of(endpoint, api_key_id, told, self._pages, made_at=self._made_at)
        if problem is not None:
            self._problems.append(f"{name}: {problem}")
        return read

    def _read_pages(self) -> dict[str, bytes]:
        found = {}
        for digest, text in self._document["pages"].items():
            try:
                packed = zlib.decompressobj(wbits=31)
                body = packed.decompress(base64.b64decode(text, validate=True), PAGE_BYTES_MAX)
            except (binascii.Error, zlib.error):
                body = b""
            if hashlib.sha256(body).hexdigest() == digest:
                found[digest] = body
            else:
                self._problems.append(f"Page {digest[:12]} is not what its digest says.")
        return found


def _text(window: Window) -> str:
    return f"{utc(window.start_us):%Y-%m-%d %H:%M} to {utc(window.end_us):%H:%M} UTC"
