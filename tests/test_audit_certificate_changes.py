"""Every single change of a certificate is seen, or cannot matter; also where whoever made it sealed it again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from audit_world import world

from submeter.audit.certificate import make_certificate
from submeter.audit.certificate_check import verify_certificate
from submeter.audit.certificate_seal import seal, written
from submeter.audit.certified import CertifiedCall, certified_calls, minute_book, read_call
from submeter.audit.choice import AuditRequest
from submeter.audit.questions import asking, book
from submeter.audit.reads import PageStore
from submeter.audit.span import Window
from submeter.data.call import Outcome
from submeter.data.error import SubmeterError
from submeter.data.paths import reads_folder

Document = dict[str, Any]
MINUTE_US = 60_000_000

CANNOT_MATTER = {
    "episodes": "the same ones in another order, or one twice",
    "keyless_calls": "of a run that differs for a worse reason; it is shown, and cannot be derived",
    "spans": "the same ones in another order",
    "spans.*.calls": "the same ones in another order, or without an unknown one of a part that is not the run's",
    "cannot_see": "words for people; the seal tells a change",
    "cannot_see.*": "words for people; the seal tells a change",
    "made_at": "later than every read; it is the end of what has none, and everything here has one",
    "settings.interval_us": "looser rules, by which the same follows; they are printed for whoever reads",
    "settings.settle_us": "looser rules, by which the same follows; they are printed for whoever reads",
    "settings.stable_reads": "looser rules, by which the same follows; they are printed for whoever reads",
    "spans.*.episodes": "of another run, within minutes that are active anyway",
    "spans.*.episodes.*.ended_us": "of another run, within minutes that are active anyway",
    "spans.*.episodes.*.run": "the name of another run",
    "spans.*.episodes.*.started_us": "of another run, within minutes that are active anyway",
    "spans.*.gaps": "of a part that is not the run's",
    "spans.*.gaps.*.calls": "of a part that is not the run's",
    "spans.*.gaps.*.first_minute": "the gap still touches the part, and its calls are still unknown",
    "spans.*.gaps.*.last_minute": "the gap still touches the part, and its calls are still unknown",
    "spans.*.reads.*": "a read that no verdict rests on left out, or one put in twice",
    "spans.*.reads.*.*.asked_at": "within the same millisecond",
    "spans.*.reads.*.*.problem": "words for a read that is no number",
    "spans.*.reads.*.*.window.*": "pages that hold the window still, and a minute more without a bucket",
    "submeter": "the version that made it, printed as it says",
}
"""What can be changed and sealed again without any verdict, sum, call, part or key in the document being another."""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Certificates of: a run on two keys, cut from its neighbour; a run that is short; a run without a call."""
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
        here.at(here.second + 150)
        here.mark("r-2", "begin")
        here.call(run="r-2")
        here.call(run="r-2", metered=False, tokens=(9, 0, 3))
        here.mark("r-2", "end")
        here.at(here.second + 6 * 3600)
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
    document = orjson.loads(documents["r-1"])
    cut_off = {
        span["api_key_id"]: (span["window"], [part["window"] for part in span["parts"]]) for span in document["spans"]
    }
    whole, (part,) = cut_off["key_baes"]
    assert part["end"] < whole["end"], "its span was cut between the runs"
    assert len(document["calls_by_key"]) == 2
    assert {span["api_key_id"] for span in document["spans"]} == {"key_baes", "key_chatdev"}
    assert any(part["unknown_calls"] == 3 for span in document["spans"] for part in span["parts"])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from places(inner, (*path, at))


def shape(path: tuple[Any, ...]) -> str:
    """A place without its numbers and names: one shape a kind of field."""
    names = ("pages", "calls_by_key") if path[0] in ("pages", "calls_by_key") else ()
    of_endpoint = len(path) > 3 and path[2] == "reads"
    of_window = of_endpoint and len(path) == 7
    return ".".join(
        "*"
        if isinstance(each, int) or (at and names) or (of_endpoint and at == 3) or (of_window and at == 6)
        else str(each)
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
    assert "its seal does not fit" in problems({**document, "made_at": document["made_at"] + 1})[0]


def test_every_single_change_that_was_sealed_again_is_seen_or_cannot_matter(documents: dict[str, bytes]) -> None:
    unseen: dict[str, int] = {}
    tried = 0
    for data in documents.values():
        for kind, changed in changes(orjson.loads(data), most=4):
            tried += 1
            if not problems(sealed(changed)):
                unseen[kind] = unseen.get(kind, 0) + 1
    assert tried > 1500
    assert set(unseen) - set(CANNOT_MATTER) == set()
    assert set(CANNOT_MATTER) - set(unseen) == set(), "no longer needed"


def changed_and_sealed(data: bytes, change: Callable[[Document], object]) -> str:
    """What is seen of a change that was sealed again, digests of calls set right too."""
    document = copy.deepcopy(orjson.loads(data))
    change(document)
    for span in document["spans"]:
        for call in span["calls"]:
            call["digest"] = read_call(call).digest
    return " ".join(problems(sealed(document)))


def span_of(document: Document, key: str = "key_baes") -> Document:
    return next(span for span in document["spans"] if span["api_key_id"] == key)


def counted_in(document: Document) -> list[Document]:
    return [call for call in span_of(document)["calls"] if call["standing"] == "counted" and call["run"] == "baes/r-1"]


def widened(document: Document) -> None:
    """Over minutes without a bucket, which every page would fit just as well."""
    span = span_of(document, "key_chatdev")
    for window in (span["window"], *(part["window"] for part in span["parts"])):
        window["start"] -= 3


def without_a_call(document: Document) -> None:
    span_of(document)["calls"].remove(counted_in(document)[1])


def another_kept_in_its_place(document: Document) -> None:
    gone, kept = counted_in(document)[1:]
    for field in ("input_tokens", "cached_input_tokens", "output_tokens"):
        kept[field] += gone[field]
    span_of(document)["calls"].remove(gone)


def pages_swapped(document: Document) -> None:
    reads = span_of(document)["reads"]
    good = [next(read for read in reads[each] if read["good"]) for each in ("completions", "embeddings")]
    good[0]["pages"], good[1]["pages"] = good[1]["pages"], good[0]["pages"]


def read_later(document: Document) -> None:
    for read in span_of(document)["reads"]["completions"]:
        read["asked_at"] += 3_600_000_000


def asked_before_the_end(document: Document) -> None:
    """Its id set right, too."""
    read = span_of(document)["reads"]["completions"][0]
    read["asked_at"] = read["window"]["end"] * MINUTE_US - 1_000_000
    digits = f"{read['asked_at'] // 1000:012x}"
    read["read_id"] = f"{digits[:8]}-{digits[8:]}{read['read_id'][13:]}"


def without_a_part(document: Document) -> None:
    span_of(document)["parts"].clear()


def without_a_key(document: Document) -> None:
    document["spans"].remove(span_of(document, "key_chatdev"))


def without_a_key_throughout(document: Document) -> None:
    without_a_key(document)
    del document["calls_by_key"]["key_chatdev"]


def later_by_two_minutes(document: Document) -> None:
    for call in span_of(document, "key_chatdev")["calls"]:
        call["skew_us"] += 2 * MINUTE_US


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (widened, "its calls and runs are active"),
        (lambda d: d["settings"].update(shift_min=4), "its calls and runs are active"),
        (lambda d: d["settings"].update(shift_min=6), "its calls and runs are active"),
        (lambda d: d["settings"].update(settle_us=2400 * MINUTE_US), "it is pending"),
        (lambda d: d["settings"].update(stable_reads=4), "it is pending"),
        (lambda d: d["settings"].update(interval_us=600 * MINUTE_US), "it is pending"),
        (lambda d: d["settings"].update(interval_us=0), "waiting rules switched off"),
        (without_a_call, "4 calls on it, and 3 of them are here"),
        (another_kept_in_its_place, "4 calls on it, and 3 of them are here"),
        (pages_swapped, "kind"),
        (read_later, "was not asked when it says, by its id"),
        (asked_before_the_end, "before its window had ended"),
        (lambda d: span_of(d)["parts"][0].update(verdict="short"), "it is verified, not short"),
        (lambda d: d.update(verdict="no_activity"), "The run is verified, not no_activity"),
        (lambda d: span_of(d)["parts"][0].update(unknown_calls=0), "3 calls are unknown, not 0"),
        (lambda d: span_of(d)["gaps"].clear(), "1 calls are unknown, not 3"),
        (without_a_part, "the parts that the run has a share in are"),
        (without_a_key, "key_chatdev: the run made 1 calls on it, and 0 of them are here"),
        (later_by_two_minutes, "its calls and runs are active"),
        (lambda d: counted_in(d)[0].update(placed=counted_in(d)[1]["placed"]), "not placed so that every minute"),
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


def test_the_minute_book_made_from_the_calls_is_that_of_the_ledger(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        for number in range(4):
            at = here.clock.now_us()
            here.call(run="r-1", tokens=(100 + number // 2, 40, 10), first_byte_at=at, server_date=at + 95_000_000)
        here.call(outcome=Outcome.ABORTED)
        here.open_call()
        here.ledger.ingest()
        span = Window(start=0, end=4_000_000_000)
        with asking(here.ledger) as asked:
            calls: list[CertifiedCall] = certified_calls(asked, "key_baes", span)
            ours = book(asked, ["key_baes"], shift_min=5, apart=True)["key_baes"]
        assert sorted(map(repr, minute_book(calls, 5)[0])) == sorted(map(repr, ours))
        assert {call.skew_us for call in calls} == {90_000_000}
