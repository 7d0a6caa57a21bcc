"""Derives the verdict of a certificate again, from the document alone, and says in words what does not follow.

Nothing that follows from something else in the document is believed: the minutes of calls are made from their times,
the chain from the minutes in which calls and runs were active, the bill from the raw pages, the time of a read from its
id, the pairs from the names; from these the gates, the least amount and the verdict by the audit's own rules. The seal
tells any other change. What none of this can show is a forgery: calls and pages made up together, and sealed again.

Pure, but for the clock that bounds the search for a placement. Never here: the ledger, a key, the network.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ..data.error import SubmeterError
from .certificate_chain import Ground, ToldChain, chain_of, episodes_of
from .certificate_found import contradictions, finding_of, found_record
from .certificate_pages import unpacked
from .certificate_seal import seal, written
from .certified import CertifiedCall, read_call
from .episodes import Episode
from .finding import ChainFinding
from .look import episode_window
from .place_chain import place_chain
from .placement import Placed, Placement
from .reconcile import judge_chain
from .report import run_text, run_verdict
from .settings import INTERVAL_MIN, SETTLE_MIN, STABLE_READS_MIN, AuditSettings
from .solve import Solved
from .unit import RunName
from .verdict import Reason, Verdict
from .window import Window

FORMAT = "submeter certificate 3"
OLD_FORMATS = ("submeter certificate 1", "submeter certificate 2")
PATIENCE = 10
"""So many times as long as an audit does a check search for a placement that an audit found."""


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
    below_defaults: bool
    """Whether they wait for less than an audit does unless told otherwise."""
    submeter: str
    """The version that made it, as it says."""

    @property
    def good(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A chain's verdict, as a run's is made from it."""

    verdict: Verdict
    reason: Reason | None


def said(verdict: str, reason: str | None) -> str:
    """A verdict with its reason."""
    return f"{verdict} ({reason})" if reason else verdict


def verify_certificate(data: bytes) -> Verification:
    """Derive a certificate's verdict again. Raises `SubmeterError` for what is none, or is of an older format."""
    try:
        document = orjson.loads(data)
        if document["format"] in OLD_FORMATS:
            raise _older(document)
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
        settings, shift_min = _settings(document["settings"])
        if settings.timing is not None:
            problems.append("It was reached with the waiting rules switched off.")
        problems += _Check(document, settings, shift_min).problems()
        return Verification(
            run=str(document["run"]),
            verdict=str(document["verdict"]),
            sha256=hashlib.sha256(data).hexdigest(),
            problems=tuple(dict.fromkeys(problems)),
            rules=_rules(settings, shift_min),
            below_defaults=settings.below_defaults,
            submeter=str(document["submeter"]),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise SubmeterError(
            "This is not a certificate that can be checked.",
            f"It is torn, or of another format ({type(error).__name__}: {str(error)[:200]!r}).",
            "Make one with: submeter audit RUN --certificate FILE",
        ) from error


def _older(document: Mapping[str, Any]) -> SubmeterError:
    version = "".join(each for each in str(document["submeter"])[:40] if each.isalnum() or each in ".+-")
    return SubmeterError(
        f"This is a {document['format']}, an older format whose rules this submeter no longer has.",
        f"It was made by submeter {version}, which derives its verdict again by the rules that it was reached with.",
        f"Verify it with submeter {version}, or make a new one: submeter audit RUN --certificate FILE",
    )


def _settings(told: Mapping[str, Any]) -> tuple[AuditSettings, int]:
    """How strict the audit was, and k. Raises `TypeError` where a setting is no whole number."""
    if any(type(value) is not int or not 0 <= value < 1 << 31 for value in told.values()):
        raise TypeError("a setting is no whole number")
    waits = {name: value for name, value in told.items() if name != "shift_min"}
    if waits.keys() != {"interval_min", "settle_min", "stable_reads"} or waits["stable_reads"] < 1:
        raise KeyError("settings")
    return AuditSettings(**waits), told["shift_min"]


def _rules(settings: AuditSettings, shift_min: int) -> str:
    reads = f"{settings.stable_reads} equal reads {settings.interval_min} min apart"
    return f"shift {shift_min} min, settle {settings.settle_min} min, {reads}"


DEFAULT_RULES = f"settle {SETTLE_MIN} min, {STABLE_READS_MIN} equal reads {INTERVAL_MIN} min apart"
"""What an audit waits for unless it is told otherwise, in the words of `Verification.rules`."""


class _Check:
    """One document, derived again."""

    def __init__(self, document: Mapping[str, Any], settings: AuditSettings, shift_min: int) -> None:
        self._document = document
        pages, self._problems = unpacked(document["pages"])
        now_us, ambiguous = document["derived_at"], document["ambiguous_calls"]
        if any(type(each) is not int or each < 0 for each in (now_us, ambiguous, document["keyless_calls"])):
            raise TypeError("a time or a number of calls is no whole number")
        self._ground = Ground(
            run=(document["framework"], document["run_id"]),
            settings=settings,
            shift_min=shift_min,
            now_us=now_us,
            ambiguous=ambiguous,
            pages=pages,
        )

    @property
    def _run(self) -> RunName:
        return self._ground.run

    def problems(self) -> list[str]:
        """Everything that does not follow, in words."""
        document = self._document
        if document["run"] != run_text(self._run):
            self._problems.append(f"The run is {run_text(self._run)}, not {document['run']}.")
        calls = [[self._call(each) for each in told["calls"]] for told in document["chains"]]
        twice = sum(number > 1 for number in Counter(call.call_id for each in calls for call in each).values())
        if twice:
            self._problems.append(f"{twice} calls are listed twice.")
        parts = told_chains(document["chains"], calls, self._run)
        self._whole(parts)
        lines = [line for part in parts if (line := self._chain(part)) is not None]
        verdict, reason = run_verdict(lines, keyless=document["keyless_calls"])
        if (verdict, reason) != (document["verdict"], document["reason"]):
            told_so = said(document["verdict"], document["reason"])
            self._problems.append(f"The run is {said(verdict, reason)}, not {told_so}.")
        return self._problems

    def _call(self, told: Mapping[str, Any]) -> CertifiedCall:
        call = read_call(told)
        if call.digest != told["digest"]:
            self._problems.append(f"Call {call.call_id} is not what its digest says.")
        return call

    def _whole(self, parts: Sequence[ToldChain]) -> None:
        """Whether all of the run is here: its calls on every key, and its own times on each of them."""
        wanted: Mapping[str, int] = self._document["calls_by_key"]
        here: dict[str, list[Window]] = {key: [] for key in wanted}
        made: Counter[str] = Counter()
        for part in parts:
            if part.api_key_id not in here:
                self._problems.append(f"{part.name}: the run is said not to have been on this key.")
                continue
            if any(part.window.overlaps(other) for other in here[part.api_key_id]):
                self._problems.append(f"{part.name}: minutes are in two chains.")
            here[part.api_key_id].append(part.window)
            made[part.api_key_id] += sum(call.run == self._run for call in part.calls)
        own = episodes_of(self._document["episodes"])
        if set(own) - {self._run}:
            self._problems.append("Times of another run are told as the run's own.")
        windows = [self._window(each) for each in own.get(self._run, ())]
        for key, number in wanted.items():
            if type(number) is not int or made[key] != number:
                self._problems.append(f"{key}: the run made {number} calls on it, and {made[key]} of them are here.")
            if not all(any(chain.covers(window) for chain in here[key]) for window in windows):
                self._problems.append(f"{key}: minutes of the run are in no chain that is here.")
        for part in parts:
            told = [each for each in part.told["runs"] if (each["framework"], each["run_id"]) == self._run]
            own_here = [
                each
                for each, window in zip(self._document["episodes"], windows, strict=True)
                if window.overlaps(part.window)
            ]
            if told != own_here:
                self._problems.append(f"{part.name}: the run's own times are not those of the document.")

    def _window(self, episode: Episode) -> Window:
        return episode_window(episode, now_us=self._ground.now_us, shift_min=self._ground.shift_min)

    def _chain(self, part: ToldChain) -> _Line | None:
        """The verdict of the run in one chain, derived again; None where there is no chain."""
        chain, problems = chain_of(part, self._ground)
        self._problems += [f"{part.name}: {problem}" for problem in problems]
        if chain is None:
            return None
        told = part.told["found"]
        found = judge_chain(chain, place=lambda solved: self._placed(solved, told["placement"]))
        derived = found_record(found, self._run)
        self._problems += [f"{part.name}: {each}" for each in contradictions(told, derived)]
        return line_of(found, self._run)

    def _placed(self, solved: Sequence[Solved], told: str | None) -> Placed | None:
        """A search with more patience than an audit has; to place what an audit did not is no contradiction."""
        found = place_chain(solved, shift_min=self._ground.shift_min, now_s=lambda: time.monotonic() / PATIENCE)
        if found is not None and found.outcome is Placement.PLACED and told == Placement.NOT_DECIDED:
            return replace(found, outcome=Placement.NOT_DECIDED)
        return found


def told_chains(
    told: Sequence[Mapping[str, Any]], calls: Sequence[Sequence[CertifiedCall]], run: RunName
) -> list[ToldChain]:
    """The chains of a document with their calls, and whether the run counts calls elsewhere than on their keys."""
    on: set[str] = set()
    counts: set[str] = set()
    for each, of_chain in zip(told, calls, strict=True):
        own = [call for call in of_chain if call.run == run]
        on |= {each["api_key_id"]} if own else set()
        counts |= {each["api_key_id"]} if any(call.counted for call in own) else set()
    return [
        ToldChain(
            told=each,
            calls=of_chain,
            counts_elsewhere=each["api_key_id"] not in on and bool(counts - {each["api_key_id"]}),
        )
        for each, of_chain in zip(told, calls, strict=True)
    ]


def line_of(found: ChainFinding, run: RunName) -> _Line:
    """The verdict of a run in one chain."""
    finding = finding_of(found, run)
    return _Line(verdict=finding.verdict, reason=finding.reason)
