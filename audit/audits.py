"""The way into the audit: `audit_runs` reads, judges and journals; `pending_runs` says who waits for it.

One audit: take in every journal, choose runs and the windows of their keys, read all three usage endpoints for what is
not final, take in what was read, judge every part from stored reads, write the verdicts. A verdict is a row and is
never replaced. A final verdict on the same minutes and the same book is left as it is, unless `force` asks again.

Raises `SubmeterError` for what a user can mend (an unknown run, a ledger held by another program, a full disk).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.journal import Journal
from ..data.ledger import Ledger
from . import questions
from .bucket import UsageEndpoint
from .choice import AuditRequest, choose, run_standings
from .judge import Judge
from .keybook import Books, read_books
from .questions import Asking, RunName, asking
from .reads import PageStore, take_read
from .report import AuditReport, PartLine, RunLine, RunStanding, run_verdict
from .settings import AuditSettings
from .span import MARGIN_MIN, UNCLAIMED_MIN, Window, minute_of, read_windows
from .unclaimed import find_unclaimed
from .usage_api import UsageApi
from .write import VerdictWriter

Parts = Mapping[str, Sequence[Window]]
"""Windows by key id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    books: Books
    judge: Judge
    parts: Parts
    """Every window that was asked for."""
    runs: Sequence[RunName]
    skipped: Sequence[RunStanding]


def audit_runs(
    ledger: Ledger,
    *,
    request: AuditRequest,
    settings: AuditSettings,
    client: UsageApi,
    clock: Clock,
    journal: Journal,
) -> AuditReport:
    """Audit what was asked for and write the verdicts down."""
    if request.settle_min is not None:
        settings = replace(settings, settle_min=request.settle_min)
    journal.begin()
    store = PageStore(journal.path.parent / "reads")
    take_in(ledger)
    with asking(ledger) as asked:
        scene = _look(asked, request, settings, store, clock, before=None)
        due = _due(scene, request)
    reads = _read(client, journal, due, clock)
    take_in(ledger)
    with asking(ledger) as asked:
        scene = _look(asked, request, settings, store, clock, before=scene)
        report = _judged(asked, scene, due, request, settings, journal, clock)
    journal.sync()
    take_in(ledger)
    return replace(report, reads=reads)


def pending_runs(
    ledger: Ledger, *, request: AuditRequest, settings: AuditSettings, clock: Clock, reads_folder: PageStore
) -> tuple[RunStanding, ...]:
    """Every run (of `request.framework`, if given) and whether it needs an audit; nothing is read or written."""
    take_in(ledger)
    with asking(ledger) as asked:
        books = read_books(
            asked, now_us=clock.now_us(), shift_min=request.shift_min, configured=settings.framework_key_ids
        )
        judge = _judge(asked, books, settings, reads_folder)
        return run_standings(books, judge, request)


def take_in(ledger: Ledger) -> None:
    """Every whole line of every journal is in the ledger when this returns; else it raises."""
    turn = ledger.ingest()
    if turn.held:
        holder = f"process {turn.held_by}" if turn.held_by else "another program"
        raise SubmeterError(
            f"The ledger is held by {holder}.",
            "Calls still wait in the journals, and a book that lacks them cannot be audited.",
            "Close the ledger there, then run submeter audit again.",
            exit_code=3,
        )


def _judge(asked: Asking, books: Books, settings: AuditSettings, store: PageStore) -> Judge:
    return Judge(asked, books, reads=questions.reads(asked, list(books.keys)), store=store, settings=settings)


def _look(
    asked: Asking,
    request: AuditRequest,
    settings: AuditSettings,
    store: PageStore,
    clock: Clock,
    *,
    before: _Scene | None,
) -> _Scene:
    """The state of the ledger and what of it is asked for. `before`: what was seen and chosen before the reads."""
    if before is not None and before.books.at_rest and before.books.state == questions.state(asked):
        books = replace(before.books, now_us=clock.now_us())
    else:
        books = read_books(
            asked,
            now_us=clock.now_us(),
            shift_min=request.shift_min,
            configured=settings.framework_key_ids,
            api_key_ids=questions.key_ids_in_use(asked) if request.of_period else (),
        )
    judge = _judge(asked, books, settings, store)
    runs, skipped = (before.runs, before.skipped) if before is not None else choose(books, judge, request)
    parts: dict[str, set[Window]] = defaultdict(set)
    for run in runs:
        for key in books.key_ids.get(run, ()):
            parts[key].update(judge.parts_of(run, key))
    if request.of_period:
        for key, book in books.keys.items():
            if request.framework is None or any(
                key in ids for run, ids in books.key_ids.items() if run[0] == request.framework
            ):
                spans = [span for span in book.windows if request.in_period(span)]
                parts[key].update(part for span in spans for part in judge.parts(key, span))
    return _Scene(
        books=books,
        judge=judge,
        parts={key: sorted(windows) for key, windows in sorted(parts.items()) if windows},
        runs=runs,
        skipped=skipped,
    )


def _due(scene: _Scene, request: AuditRequest) -> dict[str, list[Window]]:
    """What to read: the spans that hold a part that is not final (or forced), as far as they are over.

    A span that still goes on is read once some run in it is past its active minutes: that part may be cut off it.
    """
    now = minute_of(scene.books.now_us)
    due: dict[str, list[Window]] = {}
    for key, parts in scene.parts.items():
        for span in scene.books.keys[key].windows:
            waiting = [
                part
                for part in parts
                if span.covers(part) and (request.force or scene.judge.standing(key, part) is None)
            ]
            ends = [last for _, last in scene.books.episode_minutes(key, span)]
            past = any(last + MARGIN_MIN + request.shift_min < now for last in ends)
            if waiting and span.start < now and (span.end <= now or past):
                due.setdefault(key, []).append(Window(start=span.start, end=min(span.end, now)))
    return due


def _read(client: UsageApi, journal: Journal, due: Parts, clock: Clock) -> int:
    """Read every due part, and the minutes between and for an hour after them; how many reads were made."""
    made = 0
    for key, windows in due.items():
        last = max(window.end for window in windows)
        until = max(last, min(minute_of(clock.now_us()), last + UNCLAIMED_MIN))
        for window in read_windows(windows, until=until):
            for endpoint in UsageEndpoint:
                take_read(client, journal, endpoint, api_key_id=key, window=window)
                made += 1
    return made


def _judged(
    asked: Asking,
    scene: _Scene,
    due: Parts,
    request: AuditRequest,
    settings: AuditSettings,
    journal: Journal,
    clock: Clock,
) -> AuditReport:
    writer = VerdictWriter(asked, scene.books, settings=settings, journal=journal, clock=clock)
    lines: dict[tuple[str, Window], PartLine] = {}
    for key, windows in scene.parts.items():
        for window in windows:
            read = any(each.meets(window.start, window.end - 1) for each in due.get(key, ()))
            forced = request.force and any(each.covers(window) for each in due.get(key, ()))
            standing = None if forced else scene.judge.standing(key, window)
            lines[key, window] = (
                writer.standing(standing, key, window)
                if standing
                else writer.write_part(scene.judge.judge(key, window), read=read)
            )
    unclaimed, unread = find_unclaimed(asked, scene.books, scene.judge, scene.parts)
    by_key = defaultdict(list)
    for each in unclaimed:
        by_key[each.api_key_id].append(each)
    runs: list[RunLine] = []
    spoken_for: set[tuple[str, Window]] = set()
    for run in _runs_of(scene, request):
        names = [(key, window) for key in scene.books.key_ids.get(run, ()) for window in scene.judge.parts_of(run, key)]
        names = [name for name in names if name in lines]
        spoken_for.update(names)
        parts = [lines[name] for name in names]
        keyless = scene.books.keyless(run)
        verdict, reason = run_verdict(parts, keyless=keyless)
        bills = [each for key in scene.books.key_ids.get(run, ()) for each in by_key[key]]
        runs.append(writer.write_run(run, parts, verdict=verdict, reason=reason, keyless=keyless, unclaimed=bills))
    for name in sorted(lines.keys() - spoken_for):
        part = lines[name]
        runs.append(
            RunLine(
                run=None,
                verdict=part.verdict,
                reason=part.reason,
                final=part.final,
                attempt=writer.part_attempts(*name) + (0 if part.stands or part.unchanged else 1),
                parts=(part,),
            )
        )
    return AuditReport(
        runs=tuple(runs),
        unclaimed=unclaimed,
        unread=unread,
        skipped=tuple(scene.skipped),
        timing=settings.timing,
        settings=writer.settings_detail(),
    )


def _runs_of(scene: _Scene, request: AuditRequest) -> list[RunName]:
    """The runs to say a verdict on: those chosen; of a period also those all of whose windows it reaches."""
    found = dict.fromkeys(scene.runs)
    if request.of_period:
        for run, keys in scene.books.key_ids.items():
            windows = [(key, window) for key in keys for window in scene.judge.parts_of(run, key)]
            if windows and all(window in scene.parts.get(key, ()) for key, window in windows):
                found.setdefault(run)
    return list(found)
