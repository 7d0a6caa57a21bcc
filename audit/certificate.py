"""A certificate: one JSON document of a run's final verdict, from which anybody can derive it again, offline.

It holds the raw pages of every read the verdict rests on, the minute book, a digest of every counted call, the windows,
the settings and the versions. `verify_certificate` reads the pages anew, judges anew, and compares. That shows a wrong
derivation, not a forgery: pages and book can be made up together. Against that its SHA-256 must have been published
where it cannot be changed later. No verdict reached with the waiting rules switched off gets one.

Never here: a key, a prompt, a completion; a certificate may be published.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from ..data.call import Standing
from ..data.clock import US_PER_MINUTE, US_PER_S, Clock
from ..data.error import SubmeterError
from ..data.journal import submeter_version
from ..data.ledger import Ledger
from . import named_calls, questions
from .bucket import BadRead, PageReader, UsageEndpoint, UsageRow
from .choice import AuditRequest, find_run
from .history import Attempt, SeenRead, make_history
from .judge import PLACED_CALLS_MAX, Judge
from .keybook import read_books
from .place_part import place_part
from .questions import Asking, StoredRead, asking
from .reads import PageStore
from .reconcile import Finding, Part, reconcile
from .report import run_text, run_verdict
from .settings import INTERVAL, AuditSettings
from .span import Window
from .unit import BillRow, BookRow
from .unknown import Gap
from .verdict import Verdict

FORMAT = "submeter certificate 1"
CANNOT_SEE = (
    "work billed to other keys than those audited",
    "what the provider bills after the last read",
    "work billed as batch, which is set aside in the open",
    "two errors of exactly equal tokens that cancel out",
)
"""What even `verified` does not exclude; said in every certificate."""
PAGE_BYTES_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of deriving a certificate's verdict again."""

    run: str
    verdict: str
    """As the certificate says it."""
    sha256: str
    """Of the document: what must have been published elsewhere."""
    problems: tuple[str, ...]
    """Everything that does not follow; empty: the verdict follows from the pages and the book."""

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A part's verdict, as a run's is made from it."""

    verdict: Verdict
    reason: Any


def make_certificate(
    ledger: Ledger, *, run: str, request: AuditRequest, settings: AuditSettings, clock: Clock, store: PageStore
) -> bytes:
    """The certificate of a run whose verdict is final. Raises `SubmeterError` where it is not."""
    ledger.ingest()
    with asking(ledger) as asked:
        books = read_books(
            asked, now_us=clock.now_us(), shift_min=request.shift_min, configured=settings.framework_key_ids
        )
        judge = Judge(asked, books, reads=questions.reads(asked, list(books.keys)), store=store, settings=settings)
        found = find_run(run, books, framework=request.framework)
        named = [(key, window) for key in books.key_ids.get(found, ()) for window in judge.parts_of(found, key)]
        pages: dict[str, str] = {}
        parts = []
        lines = []
        for key, window in named:
            judged = judge.judge(key, window)
            if not judged.finding.final or settings.timing is not None or judge.standing(key, window) is None:
                raise _no_certificate(run_text(found), judged.finding, settings)
            reads = {
                each: [read for read in reversed(judge.latest(key, each)) if read.window.covers(window)]
                for each in UsageEndpoint
            }
            for digest in {digest for each in reads.values() for read in each for digest in read.pages}:
                body = store.body(digest)
                if body is not None:
                    pages[digest] = base64.b64encode(gzip.compress(body, mtime=0)).decode()
            lines.append(_Line(verdict=judged.finding.verdict, reason=judged.finding.reason))
            parts.append(_part(asked, judged.part, judged.finding, reads))
    keyless = books.keyless(found)
    verdict, reason = run_verdict(lines, keyless=keyless)
    document = {
        "format": FORMAT,
        "made_at": clock.now_us(),
        "submeter": submeter_version(),
        "run": run_text(found),
        "verdict": verdict,
        "reason": reason,
        "keyless_calls": keyless,
        "cannot_see": CANNOT_SEE,
        "parts": parts,
        "pages": pages,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def verify_certificate(data: bytes) -> Verification:
    """Derive a certificate's verdict again from its own pages and book. Raises `SubmeterError` for what is none."""
    try:
        document = orjson.loads(data)
        if document["format"] != FORMAT:
            raise KeyError("format")
        problems: list[str] = []
        pages = _pages(document["pages"], problems)
        lines = [_verified_part(part, pages, problems) for part in document["parts"]]
        verdict, reason = run_verdict(lines, keyless=document["keyless_calls"])
        if (verdict, reason) != (document["verdict"], document["reason"]):
            problems.append(f"The run is {_said(verdict, reason)}, not {document['verdict']}.")
        return Verification(
            run=str(document["run"]),
            verdict=str(document["verdict"]),
            sha256=hashlib.sha256(data).hexdigest(),
            problems=tuple(problems),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise SubmeterError(
            "This is not a certificate that can be checked.",
            f"It is torn, or of another format ({type(error).__name__}: {error}).",
            "Make one with: submeter audit RUN --certificate FILE",
        ) from error


def _part(
    asked: Asking, part: Part, finding: Finding, reads: Mapping[UsageEndpoint, Sequence[StoredRead]]
) -> dict[str, Any]:
    calls = sum(row.calls for row in part.book)
    book = part.book
    if calls <= PLACED_CALLS_MAX:
        begun = questions.book(
            asked, [part.api_key_id], shift_min=part.shift_min, begun_in=_begun_in(part.window), apart=True
        )
        book = [row for row in begun[part.api_key_id] if row.first_minute + 1 in part.window]
    counted = named_calls.counted_calls(asked, part.api_key_id, part.window, most=PLACED_CALLS_MAX)
    return {
        "api_key_id": part.api_key_id,
        "window": asdict(part.window),
        "verdict": finding.verdict,
        "reason": finding.reason,
        "proof": finding.proof,
        "settings": {
            "shift_min": part.shift_min,
            "settle_us": part.settle_us,
            "interval_us": part.interval_us,
            "stable_reads": part.stable_reads,
        },
        "key_proven": part.key_proven,
        "change_said": part.change_said,
        "changed_since": part.changed_since,
        "book": [asdict(row) for row in book],
        "gaps": [asdict(gap) for gap in part.gaps],
        "calls": calls,
        "call_digests": [hashlib.sha256(orjson.dumps(asdict(call))).hexdigest() for call in counted],
        "reads": {
            endpoint.value: [
                {
                    "read_id": read.read_id,
                    "asked_at": read.asked_us,
                    "window": asdict(read.window),
                    "good": read.good,
                    "problem": read.problem,
                    "pages": list(read.pages) if read.good else [],
                }
                for read in each
            ]
            for endpoint, each in reads.items()
        },
    }


def _begun_in(window: Window) -> Window:
    """A little more than a part, since its calls are told from others by their minutes."""
    return Window(start=max(0, window.start - 2), end=window.end + 2)


def _verified_part(told: Mapping[str, Any], pages: Mapping[str, bytes], problems: list[str]) -> _Line:
    window = Window(**told["window"])
    name = f"{told['api_key_id']} {window.start * US_PER_MINUTE // US_PER_S}"
    histories = {}
    for endpoint in UsageEndpoint:
        seen, states = [], {}
        for read in told["reads"][endpoint]:
            rows = _rows(endpoint, told["api_key_id"], read, pages, problems) if read["good"] else []
            inside = [row for row in rows if row.minute in window]
            state = hashlib.sha256("\n".join(sorted(map(repr, inside))).encode()).hexdigest()
            states[state] = inside
            attempt = Attempt(
                read_id=read["read_id"], asked_at=read["asked_at"], good=read["good"], problem=read["problem"]
            )
            if not Window(**read["window"]).covers(window):
                problems.append(f"{name}: read {read['read_id']} does not cover the window.")
            seen.append(SeenRead(attempt=attempt, state=state))
        if seen != sorted(seen, key=lambda each: each.attempt.asked_at):
            problems.append(f"{name}: the reads of {endpoint} are not in order.")
        histories[endpoint] = make_history(endpoint, seen, states)
    part = Part(
        api_key_id=told["api_key_id"],
        window=window,
        histories=histories,
        book=[BookRow(**{**row, "standing": Standing(row["standing"])}) for row in told["book"]],
        gaps=[Gap(**gap) for gap in told["gaps"]],
        key_proven=told["key_proven"],
        changed_since=told["changed_since"],
        change_said=told["change_said"],
        **told["settings"],
    )
    if part.interval_us <= 0 or part.stable_reads < 1:
        problems.append(f"{name}: reached with the waiting rules switched off.")
    if any(not window.meets(row.first_minute, row.last_minute) for row in part.book):
        problems.append(f"{name}: the book has calls outside the window.")
    finding = reconcile(part)
    if finding.verdict is Verdict.VERIFIED and sum(row.calls for row in part.book) <= PLACED_CALLS_MAX:
        bill = [row for history in histories.values() for row in history.bill]
        placed = place_part(
            window,
            book=part.book,
            bill=bill,
            comparison=finding.comparison,
            shift_min=part.shift_min,
            now_s=time.monotonic,
        )
        finding = reconcile(replace(part, placed=placed))
    if (finding.verdict, finding.reason) != (told["verdict"], told["reason"]):
        problems.append(f"{name}: it is {_said(finding.verdict, finding.reason)}, not {told['verdict']}.")
    return _Line(verdict=finding.verdict, reason=finding.reason)


def _rows(
    endpoint: UsageEndpoint,
    api_key_id: str,
    read: Mapping[str, Any],
    pages: Mapping[str, bytes],
    problems: list[str],
) -> list[BillRow]:
    """The rows of a read, from its pages alone."""
    window = Window(**read["window"])
    reader = PageReader(
        endpoint,
        api_key_id=api_key_id,
        window_start=window.start_us // US_PER_S,
        window_end=window.end_us // US_PER_S,
    )
    cursor: str | None = ""
    try:
        for digest in read["pages"]:
            if cursor is None or digest not in pages:
                break
            cursor = reader.take(pages[digest])
        else:
            if cursor is None:
                return [_bill_row(endpoint, row) for row in reader.rows]
        problems.append(f"Read {read['read_id']}: its pages are not all there.")
    except BadRead as bad:
        problems.append(f"Read {read['read_id']}: {bad.message}")
    return []


def _bill_row(endpoint: UsageEndpoint, row: UsageRow) -> BillRow:
    return BillRow(
        usage_endpoint=endpoint,
        minute=row.minute,
        model=row.model,
        batch=bool(row.batch),
        input_tokens=row.input_tokens,
        cached_input_tokens=row.input_cached_tokens,
        cache_write_tokens=row.input_cache_write_tokens,
        output_tokens=row.output_tokens,
        images=row.images,
        num_model_requests=row.num_model_requests,
    )


def _pages(told: Mapping[str, str], problems: list[str]) -> dict[str, bytes]:
    found = {}
    for digest, text in told.items():
        try:
            packed = zlib.decompressobj(wbits=31)
            body = packed.decompress(base64.b64decode(text, validate=True), PAGE_BYTES_MAX)
        except (binascii.Error, zlib.error):
            body = b""
        if hashlib.sha256(body).hexdigest() == digest:
            found[digest] = body
        else:
            problems.append(f"Page {digest[:12]} is not what its digest says.")
    return found


def _said(verdict: Verdict, reason: object) -> str:
    return f"{verdict} ({reason})" if reason else str(verdict)


def _no_certificate(name: str, finding: Finding, settings: AuditSettings) -> SubmeterError:
    why = f"A part of it is {_said(finding.verdict, finding.reason)}; only a final verdict that stands gets one."
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
