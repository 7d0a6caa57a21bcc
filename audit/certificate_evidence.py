"""What the ledger holds of one chain, gathered for a certificate: calls, marks, gaps, names, reads and raw pages.

Only what the verdict may rest on is gathered, and nothing is judged here. With more calls in a chain than a certificate
lists, those are listed that begin no later than the first minute that is not known; what comes later is then judged as
if it had not happened yet.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..data.error import SubmeterError
from . import questions
from .bucket import UsageEndpoint
from .certificate_chain import Ground, ToldChain, episode_record, layout
from .certificate_facts import answers_record, facts_record
from .certificate_pages import read_record
from .certified import CALLS_MAX, CertifiedCall, call_record, certified_calls
from .chain import Chain, Share
from .drawn import IMAGE_TOKENS, drew
from .finding import ChainFinding
from .history import Read
from .judge import Judge
from .look import Look, episode_window
from .questions import Asking, StoredRead
from .reads import PageStore
from .report import run_text
from .window import Window

_SHOWING_READS_MAX = 50
"""So many good reads of a key are tried for one whose pages are still kept."""


class Gathering:
    """Gathers the chains of one document; `pages` are those of all of them, by digest."""

    def __init__(self, asked: Asking, seen: Look, judge: Judge, store: PageStore) -> None:
        self._asked = asked
        self._look = seen
        self._judge = judge
        self._store = store
        self.pages: dict[str, bytes] = {}

    def chain(
        self, key: str, share: Share, found: ChainFinding, ground: Ground
    ) -> tuple[dict[str, Any], list[CertifiedCall]]:
        """One chain as a document has it, but for what was found in it; and its calls."""
        chain = found.chain
        calls, before = self._calls(found, share)
        told: dict[str, Any] = {
            "api_key_id": key,
            "calls": [call_record(call) for call in calls],
            "answers": answers_record(calls, self._judge.answered),
            "runs": self._runs(chain, before),
            "final_us": share.final_us,
        }
        laid = layout(ToldChain(told=told, calls=calls, counts_elsewhere=False), ground)
        window = laid.chains[0]
        shown = any(
            not row.empty
            for history in chain.histories.values()
            for by_minute in history.rows.values()
            for rows in by_minute.values()
            for row in rows
        )
        classes = {call.optional_class for call in calls}
        classes |= {IMAGE_TOKENS for call in calls if drew(call)}
        facts = facts_record(self._judge.uses(key), self._judge.billed(key), chain.facts)
        facts["optional"] = {name: billed for name, billed in facts["optional"].items() if name in classes}
        return {
            **told,
            "window": asdict(window),
            "gaps": [asdict(gap) for gap in chain.gaps if window.meets(gap.first_minute, gap.last_minute)],
            "facts": facts,
            "reads": self._reads(chain, window),
            "key_shown": None if shown or not chain.facts.proven else self._showing(key),
        }, calls

    def _calls(self, found: ChainFinding, share: Share) -> tuple[list[CertifiedCall], int]:
        """The calls to list, and the minute before which they begin."""
        key, window = found.chain.api_key_id, found.chain.window
        for end in (window.end, min(window.end, found.until + 1)):
            calls = certified_calls(self._asked, key, Window(start=window.start, end=end))
            if len(calls) <= CALLS_MAX:
                return calls, end
        raise SubmeterError(
            f"There is no certificate for {run_text(share.run) if share.run else key}.",
            f"A certificate lists each call, at most {CALLS_MAX:,}; {key} made more without a pause.",
            "Leave ten minutes without a call between runs, or give each framework its own key.",
            exit_code=3,
        )

    def _runs(self, chain: Chain, before: int) -> list[dict[str, Any]]:
        """The marks of every run of a chain that begins before a minute."""
        found = []
        for share in chain.shares:
            for episode in self._look.episodes.get(share.run, ()) if share.run is not None else ():
                window = episode_window(episode, now_us=chain.now_us, shift_min=chain.shift_min)
                if chain.window.covers(window) and window.start < before:
                    found.append(episode_record(episode))
        return found

    def _reads(self, chain: Chain, window: Window) -> dict[str, list[dict[str, Any]]]:
        """Every read that holds a minute of these, good or not, by usage endpoint; the pages are kept aside."""
        pages = {read.read_id: read.pages for read in questions.reads(self._asked, [(chain.api_key_id, chain.window)])}
        return {
            endpoint.value: [
                self._read(read, pages[read.read_id])
                for read in chain.histories[endpoint].reads
                if read.window.overlaps(window)
            ]
            for endpoint in UsageEndpoint
        }

    def _read(self, read: Read | StoredRead, pages: tuple[str, ...]) -> dict[str, Any]:
        for digest in pages if read.good else ():
            body = self.pages.get(digest) or self._store.body(digest)
            if body is not None:
                self.pages[digest] = body
        return read_record(read, pages)

    def _showing(self, key: str) -> dict[str, Any] | None:
        """A good read of the key that shows a token, to prove that its bill can be seen; None: none is kept."""
        for read in questions.showing_reads(self._asked, key, most=_SHOWING_READS_MAX):
            if self._store.held(read.pages):
                return {"usage_endpoint": read.usage_endpoint, **self._read(read, read.pages)}
        return None
