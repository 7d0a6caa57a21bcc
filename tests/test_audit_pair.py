"""Which name of the book is which name of the bill, and what of a bill is set aside."""

from __future__ import annotations

import pytest
from audit_chain import MODEL, OTHER_MODEL, K, billed, booked, pictured, unknown

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.pair import AsideBecause, ModelPair, PairedBy, pair_models, plain_name, same_model, set_aside
from submeter.audit.unit import BillRow, BookRow
from submeter.data.call import Standing

COMPLETIONS = UsageEndpoint.COMPLETIONS


def paired(
    counted: set[str | None],
    shown: set[str],
    explained: set[str] | None = None,
    optional: set[str | None] | None = None,
) -> set[tuple[frozenset[str | None], frozenset[str], PairedBy]]:
    pairs = pair_models(
        COMPLETIONS, counted=counted, billed=shown, explained=explained or set(), optional=optional or set()
    )
    return {(pair.book_models, pair.bill_models, pair.paired_by) for pair in pairs}


def one(
    ours: set[str | None], theirs: set[str], by: PairedBy
) -> tuple[frozenset[str | None], frozenset[str], PairedBy]:
    return frozenset(ours), frozenset(theirs), by


# Names


@pytest.mark.parametrize(
    ("dated", "plain"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-20240806", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("gpt-3.5-turbo-16k-0613", "gpt-3.5-turbo-16k"),
        ("text-embedding-ada-002-v2", "text-embedding-ada-002"),
    ],
)
def test_a_snapshot_of_either_form_of_date_is_its_undated_model(dated: str, plain: str) -> None:
    assert plain_name(dated) == plain
    assert same_model(dated, plain)
    assert same_model(plain, dated)


@pytest.mark.parametrize(
    ("one_name", "other"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"),
        ("gpt-4-0613", "gpt-4-0314"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o"),
        ("gpt-3.5-turbo-16k", "gpt-3.5-turbo"),
        ("gpt-4-1106-preview", "gpt-4"),
        ("model-1399", "model"),
    ],
)
def test_a_shared_prefix_or_another_date_is_no_pair(one_name: str, other: str) -> None:
    assert not same_model(one_name, other)


# Pairs


def test_equal_names_pair_before_aliases() -> None:
    assert paired({"gpt-4o", MODEL}, {MODEL, "gpt-4o-2024-08-06"}) == {
        one({MODEL}, {MODEL}, PairedBy.EQUAL),
        one({"gpt-4o"}, {"gpt-4o-2024-08-06"}, PairedBy.ALIAS),
    }


def test_an_alias_of_two_snapshots_makes_them_one_for_it_cannot_say_for_which_it_stands() -> None:
    assert paired({"gpt-4o"}, {"gpt-4o-2024-08-06", "gpt-4o-2024-05-13"}) == {
        one({"gpt-4o"}, {"gpt-4o-2024-08-06", "gpt-4o-2024-05-13"}, PairedBy.ALIAS)
    }


def test_the_one_model_left_on_each_side_is_renamed() -> None:
    assert paired({"house", MODEL}, {"house-2", MODEL}) == {
        one({MODEL}, {MODEL}, PairedBy.EQUAL),
        one({"house"}, {"house-2"}, PairedBy.RENAMED),
    }


def test_two_models_left_on_a_side_are_not_renamed() -> None:
    assert {by for *_, by in paired({"house"}, {"house-2", "house-3"})} == {PairedBy.BOOK_ONLY, PairedBy.BILL_ONLY}
    assert {by for *_, by in paired({"house", "barn"}, {"house-2"})} == {PairedBy.BOOK_ONLY, PairedBy.BILL_ONLY}


def test_a_model_of_optional_calls_alone_may_have_no_bill_and_leaves_the_counted_one_renamed() -> None:
    """Found by the referee (seed 4056568): an honest run was `short` beside a warm-up of another model."""
    renamed = one({"house"}, {"house-2"}, PairedBy.RENAMED)
    assert renamed in paired({"house", "warm"}, {"house-2"}, optional={"warm"})
    assert renamed not in paired({"house", "barn", "warm"}, {"house-2"}, optional={"warm"})
    assert one({"warm"}, {"warm-2"}, PairedBy.RENAMED) in paired({"warm"}, {"warm-2"}, optional={"warm"})


def test_what_an_unknown_call_may_be_billed_under_is_not_left_over() -> None:
    assert one({"house"}, {"house-2"}, PairedBy.RENAMED) in paired({"house"}, {"house-2", MODEL}, {"gpt-4o-mini"})
    assert one({"house"}, {MODEL}, PairedBy.RENAMED) not in paired({"house"}, {MODEL}, {"gpt-4o-mini"})


def test_calls_whose_model_is_not_known_are_renamed_where_one_bill_is_left() -> None:
    assert paired({None}, {MODEL}) == {one({None}, {MODEL}, PairedBy.RENAMED)}
    assert one({None}, set(), PairedBy.BOOK_ONLY) in paired({None, MODEL}, {MODEL})


def test_a_pair_goes_by_the_bills_name_and_answers_to_all_names_of_its_model() -> None:
    (pair,) = pair_models(COMPLETIONS, counted={"gpt-4o-mini"}, billed={MODEL})
    assert pair.model == MODEL
    assert pair.names("gpt-4o-mini")
    assert not pair.names("gpt-4o")
    nameless = ModelPair(
        usage_endpoint=COMPLETIONS, book_models=frozenset({None}), bill_models=frozenset(), paired_by=PairedBy.BOOK_ONLY
    )
    assert nameless.model is None
    assert not nameless.names(MODEL)


# Set aside


def aside(
    bill: list[BillRow],
    rows: list[BookRow],
    serves: set[tuple[str | None, str]] | None = None,
    *,
    image_tokens_billed: bool = False,
) -> list[str]:
    compared, left = set_aside(
        bill, rows=rows, key_serves=frozenset(serves or set()), image_tokens_billed=image_tokens_billed
    )
    assert len(compared) + len(left) == len(bill)
    return [str(because) for because, _ in left]


def spoken(minute: int = 1001, endpoint: str = "audio_transcriptions", model: str = "gpt-4o-transcribe") -> BookRow:
    return booked(minute, standing=Standing.UNCOVERED, usage_endpoint=endpoint, model=model, input_tokens=None)


def test_batch_work_is_set_aside_whatever_its_model() -> None:
    assert aside([billed(batch=True), billed()], [booked()], {("completions", "gpt-4o-mini")}) == [AsideBecause.BATCH]


def test_speech_billed_as_tokens_is_set_aside_while_such_a_call_is_active_and_not_before_or_after() -> None:
    heard = "gpt-4o-transcribe"
    inside = [billed(1000, model=heard), billed(1001 + 1 + K, model=heard)]
    outside = [billed(999, model=heard), billed(1001 + 2 + K, model=heard)]
    assert aside(inside, [spoken()]) == [AsideBecause.UNCOVERED_MODEL] * 2
    assert aside(outside, [spoken()]) == []
    assert aside([billed(model="gpt-4o-mini-transcribe")], [spoken()]) == []


@pytest.mark.parametrize("endpoint", ["fine_tuning", "moderations", "vector_stores", "videos"])
def test_an_uncovered_call_of_another_kind_sets_nothing_aside(endpoint: str) -> None:
    assert aside([billed()], [spoken(endpoint=endpoint, model=MODEL)]) == []


def test_a_model_that_the_key_counts_is_never_set_aside_as_speech() -> None:
    serves: set[tuple[str | None, str]] = {("completions", "gpt-4o-transcribe")}
    assert aside([billed(model="gpt-4o-transcribe")], [spoken()], serves) == []


def test_tokens_of_an_image_model_are_set_aside_beside_its_counted_images_alone() -> None:
    tokens = billed(1002, model="gpt-image-1")
    assert aside([tokens], [pictured()]) == [AsideBecause.IMAGE_TOKENS]
    assert aside([tokens], [booked()]) == []
    assert aside([tokens], [unknown(usage_endpoint="images", model="gpt-image-1")]) == []
    assert aside([billed(1020, model="gpt-image-1")], [pictured()]) == []


def test_tokens_that_image_calls_told_are_compared() -> None:
    told = pictured(images=1, input_tokens=50, output_tokens=4160)
    bill = [billed(1002, (50, 0, 4160), model="gpt-image-1")]
    assert aside(bill, [told]) == []
    assert aside(bill, [told, pictured()]) == [AsideBecause.IMAGE_TOKENS]
    assert aside(bill, [told, pictured()], image_tokens_billed=True) == []


def test_the_images_themselves_and_embeddings_are_always_compared() -> None:
    shown = [
        billed(usage_endpoint=UsageEndpoint.IMAGES, model="gpt-image-1", images=1),
        billed(usage_endpoint=UsageEndpoint.EMBEDDINGS, model="gpt-image-1"),
        billed(model=OTHER_MODEL),
    ]
    assert aside(shown, [pictured()]) == []
