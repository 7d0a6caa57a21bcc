"""The way into the audit: `audit_runs` reads, judges and journals; `pending_runs` says who waits for it.

One audit: take in every journal, choose runs, read all three usage endpoints where something is due, take in what was
read, judge every chain from stored reads, write the verdicts. A verdict is a row and is never replaced. A final verdict
whose ground is what it was is left as it is, unless `force` asks again.

Raises `SubmeterError` for what a user can mend (an unknown run, a ledger held by another program, a full disk).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.journal import Journal
from ..data.ledger import Ledger
from ..data.sidecar import TURN_WAIT_S
from . import past_file
from .bucket import UsageEndpoint
from .chain import Share
from .choice import AuditRequest, choose, run_standings
from .ground import Ground, grounds
from .judge import Judge
from .look import Look
from .questions import Asking
from .reads import PageStore, take_read
from .remembered import Pending, remembered, rests
from .report import AuditReport, PartLine, RunLine, RunStanding, run_verdict
from .schedule import WAITS_FOR_CHAIN, WAITS_FOR_ITSELF
from .settings import AuditSettings
from .unclaimed import find_unclaimed
from .unit import RunName
from .usage_api import UsageApi
from .verdict import Reason, Verdict
from .window import UNCLAIMED_MIN, Window, minute_of, read_windows
from .write import VerdictWriter

Parts = Sequence[tuple[str, Share]]
"""What runs have to do with keys, chain by chain."""


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
    store = PageStore(journal.path.parent / "reads")
    take_in(ledger)
    with ledger.looking() as connection:
        memory = remembered(ledger, connection, request, settings, reader=journal.file_id)
        said = memory.recall(clock.now_us()) if request.of_pending and not request.of_period else None
        if said is not None and not any(each.needs_audit for each in said.standings):
            return _nothing_due(said, request, settings)
        found = grounds(ledger, connection, request, settings, clock, store)
        asked, of_runs, of_period = found.asked, found.of_runs, found.of_period
        runs, skipped = choose(of_runs.look, of_runs.judge, request)
        parts = _parts(of_runs.look, of_period.look, runs, request)
        if not runs and not parts and not of_period.look.period_keyless:
            said = Pending(standings=tuple(skipped), unlabelled=of_runs.look.unlabelled)
            if not request.of_period:
                memory.remember(said, asked, of_runs.look, of_runs.judge, request)
                past_file.keep(ledger, found, request, settings, skipped)
            return _nothing_due(said, request, settings)
        if request.of_pending and not request.of_period:
            past_file.keep(ledger, found, request, settings, skipped)
        due = _due(of_runs, of_period, parts, request)
        steady = not request.of_period and rests(asked, of_runs.look)
    journal.begin()
    reads = _read(client, journal, due, clock)
    take_in(ledger)
    with ledger.looking() as connection:
        now = remembered(ledger, connection, request, settings, reader=journal.file_id)
        store = PageStore(store.folder)
        if steady and now.but_reader == memory.but_reader:
            asked = Asking(connection, past=of_runs.look.past)
            seen = replace(of_runs.look, now_us=clock.now_us())
            judge = Judge(asked, seen, store=store, settings=settings, before=of_runs.judge)
            of_runs = of_period = Ground(look=seen, judge=judge)
        else:
            found = grounds(ledger, connection, request, settings, clock, store, chosen=runs)
            asked, of_runs, of_period = found.asked, found.of_runs, found.of_period
        report = _judged(asked, of_runs, of_period, runs, due, request, settings, journal, clock)
    journal.sync()
    take_in(ledger)
    return replace(report, reads=reads, skipped=tuple(skipped))


def _nothing_due(said: Pending, request: AuditRequest, settings: AuditSettings) -> AuditReport:
    return AuditReport(
        skipped=said.standings,
        unlabelled=said.unlabelled,
        timing=settings.timing,
        settings=VerdictWriter.settings_of(settings, request.shift_min),
    )


def pending_runs(
    ledger: Ledger, *, request: AuditRequest, settings: AuditSettings, clock: Clock, reads_folder: PageStore
) -> tuple[RunStanding, ...]:
    """Every run (of `request.framework`, if given) and whether it needs an audit; nothing is read or written."""
    return pending(ledger, request=request, settings=settings, clock=clock, reads_folder=reads_folder).standings


def pending(
    ledger: Ledger, *, request: AuditRequest, settings: AuditSettings, clock: Clock, reads_folder: PageStore
) -> Pending:
    """The same, and the calls that belong to no run."""
    take_in(ledger)
    with ledger.looking() as connection:
        memory = remembered(ledger, connection, request, settings)
        found = memory.recall(clock.now_us())
        if found is None:
            of_pending = replace(request, from_us=None, to_us=None)
            looked = grounds(ledger, connection, of_pending, settings, clock, reads_folder)
            seen, judge = looked.of_runs.look, looked.of_runs.judge
            found = Pending(standings=run_standings(seen, judge, request), unlabelled=seen.unlabelled)
            memory.remember(found, looked.asked, seen, judge, request)
            past_file.keep(ledger, looked, request, settings, found.standings)
        return found


def take_in(ledger: Ledger) -> None:
    """Every whole line of every journal is in the ledger when this returns; else it raises."""
    turn = ledger.ingest(turn_wait_s=TURN_WAIT_S)
    if turn.held:
        holder = f"process {turn.held_by}" if turn.held_by else "another program"
        raise SubmeterError(
            f"The ledger is held by {holder}.",
            "Calls still wait in the journals, and a book that lacks them cannot be audited.",
            "Close the ledger there, then run submeter audit again.",
            exit_code=3,
        )


def _parts(of_runs: Look, of_period: Look, runs: Sequence[RunName], request: AuditRequest) -> Parts:
    """Everything that is to have a verdict: of the runs, and of the period on every key."""
    found = [part for run in runs for part in of_runs.parts_of(run)]
    if request.of_period:
        found += [
            (key, share)
            for key, each in of_runs.keys.items()
            for chain in each.chains
            for share in each.shares_in(chain)
            if _inside(share, request)
        ]
        found += [
            (key, share)
            for key, each in of_period.keys.items()
            for chain in each.chains
            for share in each.shares_in(chain)
            if share.run is None
        ]
    return list(dict.fromkeys(found))


def _inside(share: Share, request: AuditRequest) -> bool:
    """Whether a period holds a run's minutes, so that the run is judged with it."""
    return (
        request.begun_in is not None
        and share.run is not None
        and request.framework in (None, share.run[0])
        and request.begun_in.overlaps(share.window)
    )


def _due(of_runs: Ground, of_period: Ground, parts: Parts, request: AuditRequest) -> dict[str, list[Window]]:
    """The minutes of each key that are to be read: of every part that is due, from the first that is not confirmed.

    A run that goes on, or a call of which does, is not read for its own sake: no read could end it.
    """
    due: dict[str, list[Window]] = defaultdict(list)
    for ground, of_ground in ((of_runs, True), (of_period, False)):
        for key, window in _due_of(ground, [part for part in parts if (part[1].run is not None) is of_ground], request):
            due[key].append(window)
    return dict(due)


def _due_of(ground: Ground, parts: Parts, request: AuditRequest) -> list[tuple[str, Window]]:
    """The minutes that are to be read for these parts, which are all of one ground."""
    seen, judge = ground.look, ground.judge
    now_minute = minute_of(seen.now_us)
    wanted: list[tuple[str, Share]] = []
    for key, share in parts:
        if share.open or share.window.start >= now_minute:
            continue
        said = seen.keys[key].said(share)
        named = bool(request.runs) or request.of_period
        if request.force or judge.standing(key, share) is None:
            early = said is not None and said.next_read_us is not None and said.next_read_us > seen.now_us
            # What is final already and rests on other ground now is judged again from the reads there are.
            derive_only = said is not None and said.final and not named
            if request.force or named or not (early or derive_only):
                wanted.append((key, share))
    judge.gather([(key, seen.keys[key].chain_of(share.window)) for key, share in wanted])
    due: list[tuple[str, Window]] = []
    for key, share in wanted:
        found, finding = judge.finding(key, share)
        if finding.reason in WAITS_FOR_ITSELF and not request.force:
            continue
        start = found.until if finding.reason in WAITS_FOR_CHAIN else min(found.until, share.window.start)
        end = min(found.chain.window.end, now_minute)
        if end > start:
            due.append((key, Window(start=start, end=end)))
    return due


def _read(client: UsageApi, journal: Journal, due: Mapping[str, Sequence[Window]], clock: Clock) -> int:
    """Read every due stretch, and the minutes between and for an hour after them; how many reads were made."""
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
    of_runs: Ground,
    of_period: Ground,
    runs: Sequence[RunName],
    due: Mapping[str, Sequence[Window]],
    request: AuditRequest,
    settings: AuditSettings,
    journal: Journal,
    clock: Clock,
) -> AuditReport:
    seen = of_runs.look
    parts = list(dict.fromkeys([*_parts(seen, of_period.look, runs, request), *_touched(seen, of_runs.judge, due)]))
    lines: dict[tuple[str, RunName | None, Window], PartLine] = {}
    writer = VerdictWriter(asked, seen, of_runs.judge, settings=settings, journal=journal, clock=clock)
    of_them = [part for part in parts if part[1].run is not None]
    lines |= _part_lines(of_runs, writer, of_them, due, request)
    if request.of_period:
        aside = VerdictWriter(asked, of_period.look, of_period.judge, settings=settings, journal=journal, clock=clock)
        of_it = [part for part in parts if part[1].run is None]
        lines |= _part_lines(of_period, aside, of_it, due, request)
    windows: dict[str, list[Window]] = defaultdict(list)
    for key, share in parts:
        windows[key].append(share.window)
    unclaimed, unread = find_unclaimed(asked, of_period.look, of_period.judge, windows)
    said: list[RunLine] = []
    named = dict.fromkeys([*runs, *(share.run for _, share in parts if share.run is not None)])
    for run in named:
        places = [(key, share.run, share.window) for key, share in seen.parts_of(run)]
        own = [lines[place] for place in places if place in lines]
        if run not in runs and len(own) < len(places):
            continue
        keyless = seen.keyless.get(run, 0)
        verdict, reason = run_verdict(own, keyless=keyless)
        bills = [each for each in unclaimed if each.api_key_id in {key for key, _ in seen.parts_of(run)}]
        line = writer.write_run(run, own, verdict=verdict, reason=reason, keyless=keyless, unclaimed=bills)
        # Neighbours that were read along have their rows; a report on named runs is on those alone.
        if run in runs or (not request.runs and (request.of_period or not all(part.stands for part in own))):
            said.append(line)
    said += [
        RunLine(
            run=None,
            verdict=line.verdict,
            reason=line.reason,
            final=line.final,
            attempt=line.attempt,
            parts=(line,),
        )
        for (_, run_of, _), line in sorted(lines.items(), key=lambda each: (each[0][0], each[0][2]))
        if run_of is None
    ]
    if of_period.look.period_keyless:
        said.append(
            RunLine(
                run=None,
                verdict=Verdict.NOT_AUDITABLE,
                reason=Reason.KEY_WITHOUT_ID,
                final=False,
                attempt=1,
                parts=(),
                keyless=of_period.look.period_keyless,
            )
        )
    return AuditReport(
        runs=tuple(said),
        unclaimed=unclaimed,
        unread=unread,
        unlabelled=seen.unlabelled,
        timing=settings.timing,
        settings=writer.settings_detail(),
    )


def _part_lines(
    ground: Ground, writer: VerdictWriter, parts: Parts, due: Mapping[str, Sequence[Window]], request: AuditRequest
) -> dict[tuple[str, RunName | None, Window], PartLine]:
    """The line of each of these parts, which are all of one ground: as it stands, or written anew."""
    judge = ground.judge
    judge.gather([(key, ground.look.keys[key].chain_of(share.window)) for key, share in parts])
    judge.digest_calls(parts)
    lines = {}
    for key, share in parts:
        read = any(window.overlaps(share.window) for window in due.get(key, ()))
        forced = request.force and read
        standing = None if forced else judge.standing(key, share)
        lines[key, share.run, share.window] = (
            writer.standing(standing, key, share, read=read)
            if standing is not None
            else writer.write_part(key, share, read=read)
        )
    return lines


def _touched(seen: Look, judge: Judge, due: Mapping[str, Sequence[Window]]) -> list[tuple[str, Share]]:
    """Runs whose verdict may be another now, because this audit read along in their minutes or in their chain.

    A final one whose bill was read again, and one that is not final and hangs on what a neighbour shows.
    """
    return [
        (key, share)
        for key, windows in due.items()
        if key in seen.keys
        for chain in seen.keys[key].chains
        if any(window.overlaps(chain) for window in windows)
        for share in seen.keys[key].shares_in(chain)
        if (said := seen.keys[key].said(share)) is not None and (not said.final or judge.read_since(key, said))
    ]
