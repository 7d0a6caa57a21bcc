"""From the ledger to a verdict on one part: gathers what `reconcile` may rest on, and nothing else.

The bill is always read back from the ledger, from stored good reads whose raw pages still vouch for them; so an audit
that was killed, or that runs beside another, goes on from whatever was kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..data.call import Standing
from . import questions
from .bucket import Problem, UsageEndpoint
from .cut import cut
from .history import Attempt, History, SeenRead, make_history
from .keybook import Books
from .place_part import place_part
from .placement import Placed
from .questions import Asking, RunName, StoredRead, StoredVerdict
from .reads import PageStore
from .reconcile import Finding, Part, reconcile
from .settings import AuditSettings
from .span import Window
from .unit import BillRow
from .verdict import Reason, Verdict

ATTEMPTS = frozenset({Verdict.NOT_PERMITTED, Verdict.UNAVAILABLE})
"""Verdicts that say nothing of the books: an earlier final one stands beside them."""
PLACED_CALLS_MAX = 20_000
"""With more counted calls in a part no placement is searched for; the corridor is the proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A part, its verdict, and where the verdict came from."""

    part: Part
    finding: Finding
    latest_reads: Mapping[UsageEndpoint, str]
    """Usage endpoint to the latest good read."""
    book_state: str


class Judge:
    """Judges parts on one state of the ledger. `reads`: every stored read of the keys, oldest first."""

    def __init__(
        self,
        asked: Asking,
        books: Books,
        *,
        reads: Iterable[StoredRead],
        store: PageStore,
        settings: AuditSettings,
    ) -> None:
        self._asked = asked
        self._books = books
        self._settings = settings
        self._proven = questions.proven_keys(asked)
        self._reads: dict[tuple[str, UsageEndpoint], list[StoredRead]] = {}
        self._parts: dict[tuple[str, Window], tuple[Window, ...]] = {}
        self._standing: dict[tuple[str, Window], StoredVerdict | None] = {}
        known = set(UsageEndpoint)
        for read in reads:
            if read.usage_endpoint in known:
                kept = (
                    read
                    if not read.good or store.vouches(read)
                    else replace(read, good=False, problem=Problem.NOT_KEPT)
                )
                self._reads.setdefault((read.api_key_id, UsageEndpoint(read.usage_endpoint)), []).append(kept)

    def parts(self, api_key_id: str, span: Window) -> tuple[Window, ...]:
        """The parts that a span is cut into by its latest bill; the span itself where that is not known."""
        key = (api_key_id, span)
        if key not in self._parts:
            self._parts[key] = self._cut(api_key_id, span)
        return self._parts[key]

    def _cut(self, api_key_id: str, span: Window) -> tuple[Window, ...]:
        runs = self._books.episode_minutes(api_key_id, span)
        latest = [
            next((read for read in self.latest_good(api_key_id, endpoint) if span.start in read.window), None)
            for endpoint in UsageEndpoint
        ]
        found = [read for read in latest if read is not None]
        if not runs or len(found) < len(latest):
            return (span,)
        known = Window(start=span.start, end=min([span.end, *(read.window.end for read in found)]))
        rows = questions.bill(self._asked, [read.read_id for read in found], known)
        return cut(
            span,
            book=self._books.keys[api_key_id].rows_in(span),
            gaps=self._books.gaps_in(span),
            bill=[row for each in rows.values() for row in each],
            known_until=known.end,
            runs=runs,
            shift_min=self._books.shift_min,
        )

    def parts_of(self, run: RunName, api_key_id: str) -> list[Window]:
        """The parts on one key that a run has a share in."""
        times = self._books.minutes(run, api_key_id)
        return [
            part
            for span in self._books.spans_of(run, api_key_id)
            for part in self.parts(api_key_id, span)
            if any(part.meets(*each) for each in times)
        ]

    def judge(self, api_key_id: str, window: Window) -> Judged:
        """The verdict on one key's window, from its stored good reads."""
        histories = {endpoint: self._history(api_key_id, endpoint, window) for endpoint in UsageEndpoint}
        changed, said = self._changed(api_key_id, window)
        part = Part(
            api_key_id=api_key_id,
            window=window,
            histories=histories,
            book=self._books.keys[api_key_id].rows_in(window),
            gaps=self._books.gaps_in(window),
            run_open=self._books.run_open(api_key_id, window),
            key_proven=api_key_id in self._proven,
            changed_since=changed.audit_id if changed else None,
            change_said=said,
            stable_reads=self._settings.stable_reads,
            interval_us=self._settings.interval_us,
            settle_us=self._settings.settle_us,
            shift_min=self._books.shift_min,
        )
        finding = reconcile(part)
        if finding.verdict is Verdict.VERIFIED:
            part = replace(part, placed=self._place(part, finding))
            finding = reconcile(part)
        return Judged(
            part=part,
            finding=finding,
            latest_reads={each: history.reads[-1].read_id for each, history in histories.items() if history.reads},
            book_state=self._books.book_state(api_key_id, window),
        )

    def _place(self, part: Part, finding: Finding) -> Placed | None:
        """Search for a placement of every counted call of a part whose books agree; None: too many to begin."""
        if sum(row.calls for row in part.book if row.standing is Standing.COUNTED) > PLACED_CALLS_MAX:
            return None
        begun = questions.book(
            self._asked, [part.api_key_id], shift_min=part.shift_min, begun_in=part.window, apart=True
        )
        return place_part(
            part.window,
            book=begun[part.api_key_id],
            bill=[row for history in part.histories.values() for row in history.bill],
            comparison=finding.comparison,
            shift_min=part.shift_min,
            now_s=time.monotonic,
        )

    def standing(self, api_key_id: str, window: Window) -> StoredVerdict | None:
        """The final verdict that stands on a part: on the same minutes and the same book, its bill unchanged since."""
        key = (api_key_id, window)
        if key not in self._standing:
            self._standing[key] = self._find_standing(api_key_id, window)
        return self._standing[key]

    def _find_standing(self, api_key_id: str, window: Window) -> StoredVerdict | None:
        said = [
            verdict
            for verdict in self._books.verdicts
            if verdict.scope == "part"
            and verdict.api_key_id == api_key_id
            and verdict.window == window
            and verdict.verdict not in ATTEMPTS
        ]
        last = said[-1] if said else None
        if last is None or not last.final or last.book_state != self._books.book_state(api_key_id, window):
            return None
        if last.timing not in (None, self._settings.timing):
            return None
        return last if self._changed(api_key_id, window)[0] is None else None

    def latest_good(self, api_key_id: str, endpoint: UsageEndpoint) -> Sequence[StoredRead]:
        """The good reads of a key, latest first."""
        return [read for read in reversed(self._reads.get((api_key_id, endpoint), ())) if read.good]

    def latest(self, api_key_id: str, endpoint: UsageEndpoint) -> Sequence[StoredRead]:
        """All reads of a key, latest first."""
        return self._reads.get((api_key_id, endpoint), ())[::-1]

    def begun(self, api_key_id: str, window: Window) -> bool:
        """Whether these minutes were ever read, good or not."""
        return any(read.window.covers(window) for each in UsageEndpoint for read in self.latest(api_key_id, each))

    def _history(self, api_key_id: str, endpoint: UsageEndpoint, window: Window) -> History:
        reads = [read for read in self._reads.get((api_key_id, endpoint), ()) if read.window.covers(window)]
        states = questions.read_states(self._asked, [read.read_id for read in reads if read.good], window)
        seen = [
            SeenRead(
                attempt=Attempt(
                    read_id=read.read_id,
                    asked_at=read.asked_us,
                    good=read.good,
                    problem=read.problem,
                    status_code=read.status_code,
                    message=read.message,
                    request_id=read.request_id,
                ),
                state=states.get(read.read_id, ""),
                holes=read.holes,
            )
            for read in reads
        ]
        return make_history(endpoint, seen, self._rows_of(states, window))

    def _rows_of(self, states: Mapping[str, str], window: Window) -> dict[str, Sequence[BillRow]]:
        one_of = {state: read_id for read_id, state in states.items()}
        rows = questions.bill(self._asked, list(one_of.values()), window)
        return {state: rows[read_id] for state, read_id in one_of.items()}

    def _changed(self, api_key_id: str, window: Window) -> tuple[StoredVerdict | None, bool]:
        """The latest final verdict on any of these minutes whose bill is no longer what it was; and whether a
        `changed` warning has been given since."""
        on_key = [
            verdict
            for verdict in self._books.verdicts
            if verdict.scope == "part" and verdict.api_key_id == api_key_id and verdict.window is not None
        ]
        finals = [
            verdict
            for verdict in on_key
            if verdict.final and verdict.timing in (None, self._settings.timing) and _overlap(verdict.window, window)
        ]
        for index, final in enumerate(finals):
            if final.window is None or any(_overlap(later.window, final.window) for later in finals[index + 1 :]):
                continue
            if not self._differs_now(final, final.window):
                continue
            said = any(
                later.reason is Reason.CHANGED
                and later.audited_us >= final.audited_us
                and _overlap(later.window, window)
                for later in on_key
            )
            return final, said
        return None, False

    def _differs_now(self, final: StoredVerdict, window: Window) -> bool:
        for endpoint in UsageEndpoint:
            then = final.latest_reads.get(endpoint)
            if final.api_key_id is None or then is None:
                continue
            now = next((r for r in self.latest_good(final.api_key_id, endpoint) if r.window.covers(window)), None)
            if now is None or now.read_id == then:
                continue
            states = questions.read_states(self._asked, [then, now.read_id], window)
            if states[then] != states[now.read_id]:
                return True
        return False


def _overlap(one: Window | None, other: Window | None) -> bool:
    return one is not None and other is not None and one.start < other.end and other.start < one.end
