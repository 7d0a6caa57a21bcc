"""Every single change of a certificate is seen, or cannot matter; also where whoever made it sealed it again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from audit_world import world

from submeter.audit import questions
from submeter.audit.certificate import make_certificate
from submeter.audit.certificate_check import verify_certificate
from submeter.audit.certificate_seal import seal, written
from submeter.audit.certified import book_of, certified_calls, read_call
from submeter.audit.choice import AuditRequest
from submeter.audit.questions import asking
from submeter.audit.reads import PageStore
from submeter.audit.window import Window
from submeter.data.call import Flag, Outcome, Usage
from submeter.data.error import SubmeterError
from submeter.data.paths import reads_folder

Document = dict[str, Any]
MINUTE_US = 60_000_000

CANNOT_MATTER = {
    "ambiguous_calls": "of a run that differs for a worse reason",
    "cannot_see": "words for people; the seal tells a change",
    "cannot_see.*": "words for people; the seal tells a change",
    "chains": "the same ones in another order",
    "chains.*.facts.uses": "a name that only calls of other chains have, and that pairs with nothing new",
    "chains.*.facts.uses.*.model": "of a call of another chain, and a name that pairs with nothing new",
    "chains.*.facts.uses.*.models": "of a call of another chain, and names that pair with nothing new",
    "chains.*.facts.uses.*.models.*": "of a call of another chain, and a name that pairs with nothing new",
    "chains.*.facts.uses.*.usage_endpoint": "of a call of another chain, and a name that pairs with nothing new",
    "chains.*.final_us": "when an earlier verdict was final: the bill has not changed since, nor before",
    "chains.*.gaps.*.first_minute": "the same calls are lost, and an unknown call may explain the minute too",
    "chains.*.gaps.*.last_minute": "the same calls are lost, and an unknown call may explain the minute too",
    "chains.*.key_shown.asked_at": "within the same millisecond",
    "chains.*.key_shown.window.start": "a minute more without a bucket",
    "chains.*.reads.*": "a read that no verdict rests on left out",
    "chains.*.reads.*.*.asked_at": "within the same millisecond",
    "chains.*.reads.*.*.problem": "words for a read that is no number",
    "chains.*.reads.*.*.window.end": "of a read that is no number",
    "chains.*.reads.*.*.window.start": "of a read that is no number, or a minute more without a bucket",
    "chains.*.runs": "the same marks in another order, or one of another run twice",
    "chains.*.runs.*.ended_us": "of another run, within the same minute",
    "chains.*.runs.*.started_us": "of another run, within the same minute",
    "derived_at": "it is the end of what has none, and everything here has one; and later than every read",
    "keyless_calls": "of a run that differs for a worse reason; it is shown, and cannot be derived",
    "settings.interval_min": "rules by which the same follows; they are printed for whoever reads",
    "settings.settle_min": "rules by which the same follows; they are printed for whoever reads",
    "submeter": "the version that made it, printed as it says",
}
"""What can be changed and sealed again without any verdict, sum, call, chain or key in the document being another."""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Certificates of: a run on two keys, in one chain with a run that is short; that run; a run without a call."""
    found = {}
    with world(tmp_path_factory.mktemp("w")) as here:
        here.mark("r-1", "begin")
        here.call(run="r-1", outcome=Outcome.ABORTED, billed=False)
        gap = here.clock.now_us()
        here.journal.append("gap", {"from": gap - 2_000_000, "to": gap, "calls": 2, "lines": 3})
        for number in range(3):
            here.call(run="r-1", tokens=(100 + number, 40 + number, 10 + number))
            here.at(here.second + 200)
        here.call("chatdev", run="r-1", framework="baes", tokens=(70, 7, 5))
        here.mark("r-1", "end")
        for _ in range(3):
            here.at(here.second + 200)
            here.call(tokens=(20, 0, 2))
        here.at(here.second + 200)
        here.mark("r-2", "begin")
        here.call(run="r-2")
        here.call(run="r-2", metered=False, tokens=(9, 0, 3))
        here.mark("r-2", "end")
        here.at(here.second + 2400)
        here.mark("r-0", "begin")
        here.at(here.second + 60)
        here.mark("r-0", "end")
        runs = ("r-1", "r-2", "r-0")
        here.at(here.second + 1800)
        here.audit(*runs)
        here.at(here.second + 60)
        here.audit(*runs, settings=replace(here.settings, admin_key="sk-wrong"))
        here.at(here.second + 2700)
        here.audit(*runs)
        here.at(here.second + 1860)
        here.audit(*runs)
        for run in runs:
            found[run] = make_certificate(
                here.ledger,
                run=run,
                request=AuditRequest(),
                settings=here.settings,
                clock=here.clock,
                store=PageStore(reads_folder(here.path)),
            )
    return found


def problems(document: Document) -> tuple[str, ...]:
    """What is seen; a document that is no certificate any more is one thing seen."""
    try:
        return verify_certificate(written(document)).problems
    except SubmeterError as error:
        return (error.why,)


def sealed(document: Document) -> Document:
    return {**document, "seal": seal(document)}


def test_each_certificate_holds_as_it_was_made(documents: dict[str, bytes]) -> None:
    said = {run: verify_certificate(data) for run, data in documents.items()}
    assert {run: (each.verdict, each.problems) for run, each in said.items()} == {
        "r-1": ("verified", ()),
        "r-2": ("short", ()),
        "r-0": ("no_activity", ()),
    }
    assert said["r-1"].rules == "shift 5 min, settle 60 min, 2 equal reads 30 min apart"
    assert not said["r-1"].below_defaults
    document = orjson.loads(documents["r-1"])
    baes, chatdev = document["chains"]
    assert (baes["api_key_id"], chatdev["api_key_id"]) == ("key_baes", "key_chatdev")
    assert [each["run"] for each in baes["found"]["runs"]] == ["baes/r-1", "baes/r-2"], "one chain"
    assert baes["found"]["may_be_billed_beside"] == {"unknown": 1, "gap": 2}
    (model,) = baes["found"]["models"]
    assert (model["total"], model["least"]) == ([9, 0, 3], [9, 0, 3])
    assert {spot["minute"] for spot in model["dirty"]}.isdisjoint(
        range(baes["found"]["window"]["start"], baes["found"]["window"]["end"])
    ), "what is wrong does not reach the run"
    assert orjson.loads(documents["r-0"])["chains"][0]["key_shown"]["good"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from places(inner, (*path, at))


NAMED_BY_VALUE = {"pages", "calls_by_key", "minutes", "reads", "answers", "optional"}
"""Objects whose names are no fields: digests, key ids, minutes, endpoints, models, classes."""


def shape(path: tuple[Any, ...]) -> str:
    """A place without its numbers and names: one shape a kind of field."""
    return ".".join(
        "*" if isinstance(each, int) or (at and path[at - 1] in NAMED_BY_VALUE) else str(each)
        for at, each in enumerate(path)
    )


def others(value: Any) -> Iterator[Any]:
    """Values that are not this one, of its kind and of another."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, value + MINUTE_US, 0)
        case str():
            yield from (value[:-1], value + "x", "verified" if value != "verified" else "short")
        case None:
            yield from (1, "changed")
        case list() if value:
            yield from ([*value[:at], *value[at + 1 :]] for at in range(len(value)))
            yield from ([*value, value[0]], value[::-1])
        case dict() if value:
            yield from ({k: v for k, v in value.items() if k != name} for name in value)


def changes(document: Document, most: int) -> Iterator[tuple[str, Document]]:
    """Every single change, at no more than `most` places of one shape."""
    seen: dict[str, int] = {}
    for path in places(document):
        if not path or path == ("seal",):
            continue
        kind = shape(path)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > most:
            continue
        value: Any = document
        for step in path:
            value = value[step]
        for other in others(value):
            if other != value or type(other) is not type(value):
                yield kind, _with(document, path, other)


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The document with one place changed; all else is shared, nothing is copied."""
    if not path:
        return other
    if isinstance(value, dict):
        return {**value, path[0]: _with(value[path[0]], path[1:], other)}
    return [*value[: path[0]], _with(value[path[0]], path[1:], other), *value[path[0] + 1 :]]


@pytest.mark.parametrize("run", ["r-1", "r-2", "r-0"])
def test_every_single_change_breaks_the_seal(documents: dict[str, bytes], run: str) -> None:
    document = orjson.loads(documents[run])
    assert [kind for kind, changed in changes(document, most=3) if seal(changed) == document["seal"]] == []
    assert "its seal does not fit" in problems({**document, "derived_at": document["derived_at"] + 1})[0]


def test_every_single_change_that_was_sealed_again_is_seen_or_cannot_matter(documents: dict[str, bytes]) -> None:
    unseen: dict[str, int] = {}
    tried = 0
    for data in documents.values():
        for kind, changed in changes(orjson.loads(data), most=2):
            tried += 1
            if not problems(sealed(changed)):
                unseen[kind] = unseen.get(kind, 0) + 1
    assert tried > 2000
    assert set(unseen) - set(CANNOT_MATTER) == set()
    assert set(CANNOT_MATTER) - set(unseen) == set(), "no longer needed"


def changed_and_sealed(data: bytes, change: Callable[[Document], object]) -> str:
    """What is seen of a change that was sealed again, digests of calls set right too."""
    document = copy.deepcopy(orjson.loads(data))
    change(document)
    for chain in document["chains"]:
        for call in chain["calls"]:
            call["digest"] = read_call(call).digest
    return " ".join(problems(sealed(document)))


def chain_of(document: Document, key: str = "key_baes") -> Document:
    return next(chain for chain in document["chains"] if chain["api_key_id"] == key)


def found_in(document: Document) -> Document:
    found: Document = chain_of(document)["found"]
    return found


def counted_in(document: Document) -> list[Document]:
    return [call for call in chain_of(document)["calls"] if call["standing"] == "counted" and call["run_id"] == "r-1"]


def widened(document: Document) -> None:
    """Over minutes without a bucket, which every page would fit just as well."""
    chain_of(document, "key_chatdev")["window"]["start"] -= 3


def without_a_call(document: Document) -> None:
    chain_of(document)["calls"].remove(counted_in(document)[1])


def without_a_call_throughout(document: Document) -> None:
    without_a_call(document)
    document["calls_by_key"]["key_baes"] -= 1


def another_kept_in_its_place(document: Document) -> None:
    gone, kept = counted_in(document)[1:]
    for field in ("input_tokens", "cached_input_tokens", "output_tokens"):
        kept[field] += gone[field]
    chain_of(document)["calls"].remove(gone)
    document["calls_by_key"]["key_baes"] -= 1


def pages_swapped(document: Document) -> None:
    reads = chain_of(document)["reads"]
    good = [next(read for read in reads[each] if read["good"]) for each in ("completions", "embeddings")]
    good[0]["pages"], good[1]["pages"] = good[1]["pages"], good[0]["pages"]


def read_later(document: Document) -> None:
    for read in chain_of(document)["reads"]["completions"]:
        read["asked_at"] += 3_600_000_000


def asked_before_the_end(document: Document) -> None:
    """Its id set right, too."""
    read = chain_of(document)["reads"]["completions"][0]
    read["asked_at"] = read["window"]["end"] * MINUTE_US - 1_000_000
    digits = f"{read['asked_at'] // 1000:012x}"
    read["read_id"] = f"{digits[:8]}-{digits[8:]}{read['read_id'][13:]}"


def good_reads_lost(document: Document) -> None:
    """All but the first good read and the last, which are far apart, at one usage endpoint."""
    reads = chain_of(document)["reads"]["images"]
    reads[:] = [read for read in reads if read["good"]][:1]


def the_last_read_failed(document: Document) -> None:
    read = chain_of(document)["reads"]["completions"][-1]
    read.update(good=False, problem="unavailable", pages=[])


def without_a_key(document: Document) -> None:
    document["chains"].remove(chain_of(document, "key_chatdev"))


def without_a_key_throughout(document: Document) -> None:
    without_a_key(document)
    del document["calls_by_key"]["key_chatdev"]


def later_by_two_minutes(document: Document) -> None:
    for call in chain_of(document, "key_chatdev")["calls"]:
        call["skew_us"] += 2 * MINUTE_US


def another_run_moved_away(document: Document) -> None:
    other = next(each for each in chain_of(document)["runs"] if each["run_id"] == "r-2")
    other["started_us"] -= 3 * MINUTE_US


def renamed(document: Document) -> None:
    for call in chain_of(document)["calls"]:
        if call["response_model"]:
            call["response_model"] = "o9-mini"


def as_optional(document: Document) -> None:
    counted_in(document)[0].update(standing="optional", optional_class="warm_up")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (widened, "its calls and runs are active"),
        (lambda d: d["settings"].update(shift_min=4), "its calls and runs are active"),
        (lambda d: d["settings"].update(shift_min=6), "its calls and runs are active"),
        (lambda d: d["settings"].update(settle_min=2400), "verdict is pending, not verified"),
        (lambda d: d["settings"].update(stable_reads=4), "verdict is pending, not verified"),
        (lambda d: d["settings"].update(interval_min=600), "verdict is pending, not verified"),
        (lambda d: d["settings"].update(interval_min=0), "waiting rules switched off"),
        (lambda d: d["settings"].update(stable_reads=1), "waiting rules switched off"),
        (without_a_call, "the run made 4 calls on it, and 3 of them are here"),
        (without_a_call_throughout, "verdict is incomplete, not verified"),
        (another_kept_in_its_place, "verdict is over, not verified"),
        (pages_swapped, "kind"),
        (read_later, "was not asked when it says, by its id"),
        (asked_before_the_end, "before its window had ended"),
        (good_reads_lost, "verdict is pending, not verified"),
        (the_last_read_failed, "verdict is unavailable, not verified"),
        (lambda d: found_in(d).update(verdict="short"), "verdict is verified, not short"),
        (lambda d: d.update(verdict="no_activity"), "The run is verified, not no_activity"),
        (lambda d: found_in(d).update(known_until=0), "known_until is"),
        (lambda d: found_in(d)["models"][0]["dirty"].clear(), "models.0.dirty is"),
        (lambda d: found_in(d)["models"][0].update(total=[0, 0, 0]), "models.0.total.0 is 9, not 0"),
        (lambda d: found_in(d)["models"][0].update(least=[0, 0, 0]), "models.0.least.0 is 9, not 0"),
        (lambda d: chain_of(d)["gaps"].clear(), "may_be_billed_beside is"),
        (without_a_key, "key_chatdev: the run made 1 calls on it, and 0 of them are here"),
        (later_by_two_minutes, "its calls and runs are active"),
        (another_run_moved_away, "runs.1.start is"),
        (renamed, "a model that the key is not said to have used"),
        (as_optional, "not verified"),
        (lambda d: d["episodes"][0].update(ended_us=None), "minutes of the run are in no chain that is here"),
        (lambda d: counted_in(d)[0].update(call_id=counted_in(d)[1]["call_id"]), "1 calls are listed twice"),
        (lambda d: d["pages"].popitem(), "its pages are not all there"),
    ],
)
def test_a_change_that_was_sealed_again_is_said_in_words(
    documents: dict[str, bytes], change: Callable[[Document], object], said: str
) -> None:
    assert said in changed_and_sealed(documents["r-1"], change)


def test_a_key_left_out_in_every_place_is_a_forgery_that_no_check_of_the_document_alone_can_see(
    documents: dict[str, bytes],
) -> None:
    assert changed_and_sealed(documents["r-1"], without_a_key_throughout) == ""


def test_the_book_made_from_the_calls_is_that_of_the_ledger(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        for number in range(4):
            at = here.clock.now_us()
            here.call(run="r-1", tokens=(100 + number // 2, 40, 10), first_byte_at=at, server_date=at + 95_000_000)
        here.call(outcome=Outcome.ABORTED)
        here.call(completed_at=here.clock.now_us() + 500_000_000)
        here.call(flags=(Flag.HOSTED_TOOL,))
        here.call(flags=(Flag.HOSTED_TOOL,), tool_usage={"image_gen": {"input_tokens": 9, "output_tokens": 272}})
        here.call(outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,))
        for told in ((50, 4160), (60, 4160), (None, None)):
            counts = Usage(input_tokens=told[0], output_tokens=told[1], images=1)
            here.call(lasts=1.0, tokens=None, usage_endpoint="images", usage_counts=counts)
        here.open_call()
        here.at(here.second + 25 * 3600)
        here.open_call()
        here.ledger.ingest()
        ever = Window(start=0, end=4_000_000_000)
        with asking(here.ledger) as asked:
            calls = certified_calls(asked, "key_baes", ever)
            for apart in (True, False):
                (theirs,) = questions.books(asked, [("key_baes", ever)], shift_min=5, answered={}, apart=apart).values()
                ours = book_of(calls, shift_min=5, now_us=here.clock.now_us(), answered={}, apart=apart)
                assert Counter(map(repr, ours)) == Counter(map(repr, theirs))
        assert {call.skew_us for call in calls} == {90_000_000}
        assert sum(call.hosted for call in calls) == 2 * sum(call.background for call in calls) == 2
        assert {call.optional_class for call in calls} == {"image_gen", None}
        assert {call.open(here.clock.now_us()) for call in calls} == {True, False}
