"""From the ledger to the verdicts of chains: gathers what `judge_chain` may rest on, and nothing else.

The bill is always read back from the ledger, from stored good reads whose raw pages are still kept; so an audit that
was killed, or that runs beside another, goes on from whatever was kept. Chains are gathered many at a time, and each is
judged once a look.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..data.call import Standing
from . import known_names, questions
from .bucket import Problem, UsageEndpoint
from .chain import Chain, KeyFacts, Share
from .facts import ModelUse, draws, guesses, key_facts, optional_facts, renaming_holds
from .finding import ChainFinding, Finding
from .history import History, Read, rows_by_minute
from .latest_reads import LatestReads
from .look import Look
from .place_chain import PLACED_CALLS_MAX, place_chain
from .questions import Asking, StoredRead, Stretch
from .reads import PageStore
from .reconcile import judge_chain
from .rests_on import (
    NO_GAPS,
    FactDigests,
    MarkDigests,
    RestsOn,
    bill_digest,
    gaps_digest,
    models_of,
    waited_enough,
    waiting_record,
)
from .said_before import StoredPart
from .settings import AuditSettings
from .unit import BillRow, BookRow
from .verdict import Verdict
from .window import Window

ATTEMPTS = frozenset({Verdict.NOT_PERMITTED, Verdict.UNAVAILABLE})
"""Verdicts that say nothing of the books: an earlier final one stands beside them."""
PROVING_CHAINS_MAX = 500
"""Chains of one key that a fact is learned from, the latest."""


class Judge:
    """Judges the chains of one look."""

    def __init__(
        self, asked: Asking, look: Look, *, store: PageStore, settings: AuditSettings, before: Judge | None = None
    ) -> None:
        """`before`: the judge of the same look before more was read, which knows what the calls tell."""
        self._asked = asked
        self._look = look
        self._store = store
        self._settings = settings
        self._waits = waiting_record(settings.waiting)
        self._answered: Mapping[str, frozenset[str]] = before._answered if before else known_names.answers(asked)
        self._uses: dict[str, list[ModelUse]] = (
            before._uses if before else known_names.model_uses(asked, self._answered)
        )
        self._billed = known_names.billed_models(asked)
        self._latest = {key: LatestReads(reads) for key, reads in questions.read_windows(asked).items()}
        self._chains: dict[tuple[str, int], Chain] = {}
        self._found: dict[tuple[str, int], ChainFinding] = {}
        self._facts: dict[str, KeyFacts] = {}
        self._fact_digests: dict[str, FactDigests] = {}
        self._marks: dict[tuple[str, int], MarkDigests] = {}
        self._calls: dict[tuple[str, int, int], str] = {}
        self._rows_before = {} if before is None else {place: chain.rows for place, chain in before._chains.items()}
        self.derived = False
        """Whether a chain was gathered: what was said then rests on pages that were still kept."""

    @property
    def earliest_judged(self) -> int | None:
        """The first minute of the chains that were gathered; None: none was."""
        return min((start for _, start in self._chains), default=None)

    @property
    def answered(self) -> Mapping[str, frozenset[str]]:
        """What the models that were asked for answered as."""
        return self._answered

    def uses(self, api_key_id: str) -> list[ModelUse]:
        """The names of models that the calls of a key have."""
        return self._uses.get(api_key_id, [])

    def billed(self, api_key_id: str) -> list[tuple[UsageEndpoint, str]]:
        """The names that good reads of a key ever showed tokens for, batch left out."""
        return [(endpoint, model) for endpoint, model, batch_only in self._billed.get(api_key_id, ()) if not batch_only]

    def gather(self, wanted: Iterable[Stretch]) -> None:
        """Ask the ledger for these chains, all at once."""
        stretches = [each for each in dict.fromkeys(wanted) if (each[0], each[1].start) not in self._chains]
        if not stretches:
            return
        facts = {key: self.facts(key) for key, _ in stretches}
        for key, window, chain in self._gathered(stretches):
            self._chains[key, window.start] = replace(chain, facts=facts[key])

    def _gathered(self, stretches: list[Stretch]) -> list[tuple[str, Window, Chain]]:
        self.derived = True
        keys = self._look.keys
        told = {(key, window.start) for key, window in stretches} & self._rows_before.keys()
        untold = [(key, window) for key, window in stretches if (key, window.start) not in told]
        few = [each for each in untold if keys[each[0]].creates.get(each[1].start, 0) <= PLACED_CALLS_MAX]
        many = [each for each in untold if each not in few]
        rows: dict[tuple[str, int], Sequence[BookRow]] = {
            **{place: self._rows_before[place] for place in told},
            **self._book(few, apart=True),
            **self._book(many, apart=False),
        }
        reads = questions.reads(self._asked, stretches)
        kept = [self._kept(read) for read in reads]
        bill = questions.bill(self._asked, stretches, [read.read_id for read in kept if read.good])
        by_key: dict[str, list[StoredRead]] = defaultdict(list)
        for read in kept:
            by_key[read.api_key_id].append(read)
        minutes = {read_id: rows_by_minute(rows_of) for read_id, rows_of in bill.items()}
        found = []
        for key, window in stretches:
            histories = {
                endpoint: _history(endpoint, [read for read in by_key[key] if read.window.overlaps(window)], minutes)
                for endpoint in UsageEndpoint
            }
            chain = Chain(
                api_key_id=key,
                window=window,
                rows=tuple(rows[key, window.start]),
                gaps=tuple(gap for gap in self._look.gaps if window.meets(gap.first_minute, gap.last_minute)),
                shares=tuple(keys[key].shares_in(window)),
                histories=histories,
                waiting=self._settings.waiting,
                shift_min=self._look.shift_min,
                now_us=self._look.now_us,
            )
            found.append((key, window, chain))
        return found

    def _kept(self, read: StoredRead) -> StoredRead:
        """A read as it is worth anything: one whose raw pages are gone proves nothing."""
        if not read.good or self._store.held(read.pages):
            return read
        return replace(read, good=False, problem=Problem.NOT_KEPT)

    def _book(self, stretches: list[Stretch], *, apart: bool) -> dict[tuple[str, int], list[BookRow]]:
        if not stretches:
            return {}
        return questions.books(
            self._asked, stretches, shift_min=self._look.shift_min, answered=self._answered, apart=apart
        )

    def facts(self, api_key_id: str) -> KeyFacts:
        """What is known of a key whatever the chain."""
        if api_key_id not in self._facts:
            self._facts[api_key_id] = self._learn(api_key_id)
        return self._facts[api_key_id]

    def _learn(self, key: str) -> KeyFacts:
        facts = self._told(key)
        if self._has_classes(key):
            facts = replace(facts, optional=optional_facts(self._proving(key, facts)))
        if guesses(facts):
            facts = replace(facts, renamed_holds=renaming_holds(map(judge_chain, self._proving(key, facts))))
        return facts

    def learns(self, api_key_id: str) -> bool:
        """Whether what is known of a key is learned from its chains, of whatever age."""
        return self._has_classes(api_key_id) or guesses(self._told(api_key_id))

    def _told(self, key: str) -> KeyFacts:
        """What the names alone tell of a key."""
        return key_facts(uses=self.uses(key), billed=self.billed(key), proven=bool(self._billed.get(key)))

    def _has_classes(self, key: str) -> bool:
        """Whether a call of a key has amounts that may not be billed."""
        return any(use.standing is Standing.OPTIONAL or draws(use) for use in self.uses(key))

    def facts_text(self, api_key_id: str, models: Iterable[str]) -> str:
        """A digest of what is known of these names, as in `RestsOn.facts`."""
        return self._digests_of_facts(api_key_id).of(models)

    def _proving(self, key: str, facts: KeyFacts) -> list[Chain]:
        """The latest chains of a key, for a fact to be learned from."""
        look = self._look.keys.get(key)
        latest = [] if look is None else list(look.chains[-PROVING_CHAINS_MAX:])
        return [replace(chain, facts=facts) for _, _, chain in self._gathered([(key, window) for window in latest])]

    def chain(self, api_key_id: str, window: Window) -> ChainFinding:
        """What was found in one chain."""
        place = (api_key_id, window.start)
        if place not in self._found:
            self.gather([(api_key_id, window)])
            self._found[place] = judge_chain(
                self._chains[place],
                place=lambda solved: place_chain(solved, shift_min=self._look.shift_min, now_s=time.monotonic),
            )
        return self._found[place]

    def finding(self, api_key_id: str, share: Share) -> tuple[ChainFinding, Finding]:
        """What was found of one run, and in its chain."""
        found = self.chain(api_key_id, self._look.keys[api_key_id].chain_of(share.window))
        return found, next(each for each in found.findings if each.share == share)

    def rests_on(self, api_key_id: str, share: Share) -> RestsOn:
        """The digests of what a run's verdict rests on now."""
        found, _ = self.finding(api_key_id, share)
        start, until = found.chain.window.start, found.until
        rows = [row for minutes in found.minutes.values() for row in minutes.bill]
        models = models_of(found)
        return RestsOn(
            start=start,
            until=until,
            calls=self._calls_text(api_key_id, start, until),
            marks=self._mark_digests(api_key_id, found.chain.window).until(until),
            gaps=self._gaps_text(start, until),
            bill=bill_digest(rows, until),
            facts=self._digests_of_facts(api_key_id).of(models),
            models=models,
            read_us=max((read.asked_us for each in found.chain.histories.values() for read in each.reads), default=0),
            waiting=self._settings.waiting,
        )

    def digest_calls(self, parts: Iterable[tuple[str, Share]]) -> None:
        """Ask the ledger for the digests that `rests_on` wants, all at once."""
        wanted = set()
        for key, share in parts:
            found, _ = self.finding(key, share)
            if found.until > found.chain.window.start:
                wanted.add((key, Window(start=found.chain.window.start, end=found.until)))
        if wanted:
            self._calls |= questions.call_digests(self._asked, sorted(wanted))

    def _calls_text(self, api_key_id: str, start: int, until: int) -> str:
        place = (api_key_id, start, until)
        if place not in self._calls:
            if until <= start:
                return questions.calls_text(0, "0")
            self._calls |= questions.call_digests(self._asked, [(api_key_id, Window(start=start, end=until))])
        return self._calls[place]

    def _mark_digests(self, api_key_id: str, chain: Window) -> MarkDigests:
        place = (api_key_id, chain.start)
        if place not in self._marks:
            self._marks[place] = MarkDigests(self._look.keys[api_key_id].shares_in(chain))
        return self._marks[place]

    def _digests_of_facts(self, api_key_id: str) -> FactDigests:
        if api_key_id not in self._fact_digests:
            self._fact_digests[api_key_id] = FactDigests(self.facts(api_key_id), self._answered)
        return self._fact_digests[api_key_id]

    def standing(self, api_key_id: str, share: Share) -> StoredPart | None:
        """The final verdict that stands on a run's minutes: all that it rests on is what it was."""
        said = self._look.keys[api_key_id].said(share)
        if said is None or not said.final or said.window != share.window or not said.rests_on:
            return None
        if not waited_enough(said.rests_on, self._waits):
            return None
        if self.ground_differs(api_key_id, share, said):
            return None
        then = said.rests_on
        start, until = int(then["from"]), int(then["until"])
        if until > start and self._read_after(api_key_id, Window(start=start, end=until), int(then["read_us"])):
            found, finding = self.finding(api_key_id, share)
            rows = [row for minutes in found.minutes.values() for row in minutes.bill]
            if bill_digest(rows, until) != then["bill"] or not (finding.final and finding.verdict is said.verdict):
                return None
        return said

    def ground_differs(self, api_key_id: str, share: Share, said: StoredPart) -> bool:
        """Whether anything that a verdict rests on, its bill left out, is no longer what it was: no read is needed to
        derive it again."""
        then = said.rests_on
        if not then:
            return True
        start, until = int(then["from"]), int(then["until"])
        chain = self._look.keys[api_key_id].chain_of(share.window)
        return not (
            chain.start == start
            and said.calls_now == then["calls"]
            and self._mark_digests(api_key_id, chain).until(until) == then["marks"]
            and self._gaps_text(start, until) == then["gaps"]
            and self._digests_of_facts(api_key_id).of(then["models"]) == then["facts"]
        )

    def _gaps_text(self, start: int, until: int) -> str:
        gaps = self._look.gaps
        return gaps_digest(gaps, Window(start=start, end=max(until, start + 1))) if gaps else NO_GAPS

    def waits_the_same(self, said: StoredPart) -> bool:
        """Whether a verdict's next read was planned by what is waited for now."""
        return not said.rests_on or said.rests_on.get("waiting") == self._waits

    def read_since(self, api_key_id: str, said: StoredPart) -> bool:
        """Whether a key was read in a verdict's minutes after it was reached."""
        read_us = int(said.rests_on.get("read_us", 0)) if said.rests_on else said.audited_us
        return self._read_after(api_key_id, said.window, read_us)

    def _read_after(self, api_key_id: str, window: Window, us: int) -> bool:
        asked_us = self._latest[api_key_id].asked_us(window) if api_key_id in self._latest else None
        return asked_us is not None and asked_us > us

    def was_read(self, api_key_id: str, window: Window) -> bool:
        """Whether these minutes were ever read, good or not."""
        return api_key_id in self._latest and self._latest[api_key_id].asked_us(window) is not None


def _history(
    endpoint: UsageEndpoint,
    reads: Iterable[StoredRead],
    rows: Mapping[str, Mapping[int, tuple[BillRow, ...]]],
) -> History:
    own = [read for read in reads if read.usage_endpoint is endpoint]
    return History(
        usage_endpoint=endpoint,
        reads=tuple(
            Read(
                read_id=read.read_id,
                asked_us=read.asked_us,
                window=read.window,
                good=read.good,
                problem=read.problem,
                status_code=read.status_code,
                message=read.message,
                request_id=read.request_id,
                holes=read.holes,
            )
            for read in own
        ),
        rows={read.read_id: rows.get(read.read_id, {}) for read in own if read.good},
    )
