"""A certificate: one JSON document of a run's final verdict, from which anybody can derive it again, offline.

It holds every chain that the run has a share in: a record and a digest of each call, the marks of every run, the gaps,
the names by which models are paired, and the raw pages of every read of it, good or not; and what was found: minute
book, gates, least amount, verdict; and the settings and versions. A seal over all of it tells a change, and
`certificate_check` derives the rest again. That shows a wrong derivation, not a forgery: pages and calls can be made up
together, and sealed. Against that its SHA-256 must have been published where it cannot be changed later. No verdict
reached with the waiting rules switched off gets one.

Never here: a key, a prompt, a completion; a certificate may be published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.journal import submeter_version
from ..data.ledger import Ledger
from .certificate_chain import Ground, ToldChain, chain_of, episode_record
from .certificate_check import FORMAT, line_of, said, told_chains, verify_certificate
from .certificate_evidence import Gathering
from .certificate_found import found_record
from .certificate_pages import packed
from .certificate_seal import seal, written
from .chain import Share
from .choice import AuditRequest, find_run
from .finding import ChainFinding, Finding
from .judge import Judge
from .look import Look, look
from .questions import Asking, asking
from .reads import PageStore
from .reconcile import judge_chain
from .report import run_text, run_verdict
from .settings import INTERVAL, AuditSettings
from .unit import RunName

CANNOT_SEE = (
    "work billed to other keys than those audited",
    "work billed after the last read",
    "work billed as batch, which is set aside in the open; embeddings and images do not tell batch",
    "calls billed later than the shift (k) after their end",
    "an excess and a deficit of equal tokens in one unit of one chain",
)
"""What even `verified` does not exclude; said in every certificate."""


def make_certificate(
    ledger: Ledger, *, run: str, request: AuditRequest, settings: AuditSettings, clock: Clock, store: PageStore
) -> bytes:
    """The certificate of a run whose verdict is final. Raises `SubmeterError` where there can be none."""
    ledger.ingest()
    with asking(ledger) as asked:
        now_us = clock.now_us()
        seen = look(asked, now_us=now_us, shift_min=request.shift_min, configured=settings.framework_key_ids)
        judge = Judge(asked, seen, store=store, settings=settings)
        found_run = find_run(run, seen, framework=request.framework)
        if settings.timing is not None:
            raise _no_certificate(
                found_run,
                "The waiting rules are switched off (timing: test).",
                f"Audit it with them: leave {INTERVAL} out, or set it to 30.",
            )
        document = _Maker(asked, seen, judge, store, found_run, settings).document()
    data = written({**document, "seal": seal(document)})
    problems = verify_certificate(data).problems
    if problems:
        raise _not_again(found_run, problems[0])
    return data


class _Maker:
    """Puts one document together."""

    def __init__(
        self, asked: Asking, seen: Look, judge: Judge, store: PageStore, run: RunName, settings: AuditSettings
    ) -> None:
        self._look = seen
        self._judge = judge
        self._run = run
        self._settings = settings
        self._gathering = Gathering(asked, seen, judge, store)

    def document(self) -> dict[str, Any]:
        """Everything but the seal."""
        parts = self._look.parts_of(self._run)
        findings = [self._final(key, share) for key, share in parts]
        ground = Ground(
            run=self._run,
            settings=self._settings,
            shift_min=self._look.shift_min,
            now_us=self._look.now_us,
            ambiguous=self._look.ambiguous.get(self._run, 0),
            pages=self._gathering.pages,
        )
        told = [
            self._gathering.chain(key, share, found, ground)
            for (key, share), (found, _) in zip(parts, findings, strict=True)
        ]
        evidence = told_chains([each for each, _ in told], [calls for _, calls in told], self._run)
        chains, lines = [], []
        for part, (found, finding) in zip(evidence, findings, strict=True):
            again = self._derived(part, ground, found, finding)
            lines.append(line_of(again, self._run))
            chains.append({**part.told, "found": found_record(again, self._run)})
        keyless = self._look.keyless.get(self._run, 0)
        verdict, reason = run_verdict(lines, keyless=keyless)
        return {
            "format": FORMAT,
            "submeter": submeter_version(),
            "derived_at": self._look.now_us,
            "run": run_text(self._run),
            "framework": self._run[0],
            "run_id": self._run[1],
            "episodes": [episode_record(each) for each in self._look.episodes.get(self._run, ())],
            "calls_by_key": self._calls_by_key(evidence),
            "keyless_calls": keyless,
            "ambiguous_calls": ground.ambiguous,
            "verdict": verdict,
            "reason": reason,
            "settings": {
                "shift_min": self._look.shift_min,
                "settle_min": self._settings.settle_min,
                "interval_min": self._settings.interval_min,
                "stable_reads": self._settings.stable_reads,
            },
            "cannot_see": CANNOT_SEE,
            "chains": chains,
            "pages": {digest: packed(body) for digest, body in self._gathering.pages.items()},
        }

    def _final(self, key: str, share: Share) -> tuple[ChainFinding, Finding]:
        """What was found of the run in one chain. Raises `SubmeterError` where no final verdict on it stands."""
        found, finding = self._judge.finding(key, share)
        if not finding.final or self._judge.standing(key, share) is None:
            told = said(finding.verdict, finding.reason)
            raise _no_certificate(
                self._run,
                f"On {key} it is {told}; only a final verdict that stands gets one.",
                f"Audit it to the end first: submeter audit {run_text(self._run)} --wait",
            )
        return found, finding

    def _derived(self, part: ToldChain, ground: Ground, found: ChainFinding, finding: Finding) -> ChainFinding:
        """What the evidence alone gives. Raises `SubmeterError` where that is not what the ledger gives.

        No placement is searched for here: that of the audit is told, and searched for again when it is checked.
        """
        chain, problems = chain_of(part, ground)
        if chain is None or problems:
            raise _not_again(self._run, f"{part.name}: {problems[0]}")
        again = judge_chain(chain, place=lambda _: found.placed)
        line = line_of(again, self._run)
        if (line.verdict, line.reason) != (finding.verdict, finding.reason):
            told = f"it is {said(line.verdict, line.reason)} by it, not {said(finding.verdict, finding.reason)}."
            raise _not_again(self._run, f"{part.name}: {told}")
        return again

    def _calls_by_key(self, evidence: Sequence[ToldChain]) -> dict[str, int]:
        """How many calls the run made on each key it was on."""
        made = dict.fromkeys(self._look.key_ids.get(self._run, ()), 0)
        for part in evidence:
            made[part.api_key_id] += sum(call.run == self._run for call in part.calls)
        return made


def _not_again(run: RunName, problem: str) -> SubmeterError:
    return _no_certificate(
        run,
        f"Its verdict could not be derived again from what would be in it: {problem}",
        f"Audit it again and retry: submeter audit {run_text(run)} --force",
    )


def _no_certificate(run: RunName, why: str, mend: str) -> SubmeterError:
    return SubmeterError(f"There is no certificate for {run_text(run)}.", why, mend, exit_code=3)
