"""What calls of unknown usage may explain: by model, by minute, and never by a number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from audit_chain import MODEL, OTHER_MODEL, K, booked, pictured, unknown

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.facts import key_facts, uses_of
from submeter.audit.pair import ModelPair, pair_models
from submeter.audit.unit import BookRow
from submeter.audit.unknown import Because, Gap, able_calls, explained_minutes
from submeter.data.call import Standing


def pairs(counted: set[str | None], billed: set[str]) -> dict[str | None, ModelPair]:
    return {pair.model: pair for pair in pair_models(UsageEndpoint.COMPLETIONS, counted=counted, billed=billed)}


def explains(row: BookRow, model: str, *, counted: set[str | None], billed: set[str]) -> bool:
    known = pairs(counted, billed)
    return bool(explained_minutes(able_calls([row], ()), known[model], tuple(known.values())))


def named(*names: str) -> BookRow:
    return unknown(model=names[0], models=frozenset(names))


@pytest.mark.parametrize("name", [MODEL, "gpt-4o-mini"])
def test_a_call_may_be_of_the_model_it_names_dated_or_not(name: str) -> None:
    assert explains(named(name), MODEL, counted={MODEL}, billed={MODEL})
    assert not explains(named(name), OTHER_MODEL, counted={OTHER_MODEL}, billed={OTHER_MODEL, MODEL})


def test_a_call_may_be_of_any_model_that_its_name_was_seen_to_answer_as() -> None:
    learned = named("sol", "sol-large", "sol-small")
    for model in ("sol-large", "sol-small"):
        assert explains(learned, model, counted={model, MODEL}, billed={model, MODEL})
    assert not explains(learned, MODEL, counted={MODEL}, billed={MODEL})


def test_a_name_that_is_known_nowhere_may_be_any_model_that_the_bill_alone_knows() -> None:
    assert explains(named("sol"), "sol-large", counted={MODEL}, billed={MODEL, "sol-large"})
    assert explains(named("sol"), "sol-large", counted={MODEL}, billed={MODEL, "sol-large", "other"})
    assert not explains(named("sol"), "sol-large", counted={MODEL}, billed={MODEL, "sol", "sol-large"})


def test_a_name_without_a_date_that_was_never_answered_may_be_a_model_that_is_counted_under_another_name() -> None:
    assert explains(named("sol"), "sol-large", counted={"sol-large"}, billed={"sol-large"})
    assert not explains(named("sol", "sol-small"), "sol-large", counted={"sol-large"}, billed={"sol-large"})
    assert not explains(named("sol-2026-01-01"), "sol-large", counted={"sol-large"}, billed={"sol-large"})
    answered = unknown(model="sol", models=frozenset())
    assert not explains(answered, "sol-large", counted={"sol-large"}, billed={"sol-large"})


def test_a_call_explains_an_excess_from_the_minute_before_its_start_to_the_shift_after_its_end() -> None:
    known = pairs({MODEL}, {MODEL})
    minutes = explained_minutes(able_calls([unknown(1005)], ()), known[MODEL], tuple(known.values()))
    assert minutes == set(range(1004, 1005 + 1 + K + 1))


def test_an_endpoint_that_is_not_known_may_be_any_model_of_any_usage_endpoint() -> None:
    anything = unknown(usage_endpoint=None, model=None, models=frozenset(), any_model=True)
    (able,) = able_calls([anything], ())
    assert (able.because, able.usage_endpoint, able.models) == (Because.UNKNOWN_ENDPOINT, None, frozenset())
    assert explains(anything, OTHER_MODEL, counted={OTHER_MODEL}, billed={OTHER_MODEL})


def test_an_endpoint_that_is_not_known_is_of_the_model_that_its_request_or_answer_names() -> None:
    told = unknown(usage_endpoint=None, model=MODEL, models=frozenset())
    (able,) = able_calls([told], ())
    assert (able.because, able.usage_endpoint, able.models) == (Because.UNKNOWN, None, frozenset({MODEL}))
    assert explains(told, MODEL, counted={MODEL, OTHER_MODEL}, billed={MODEL, OTHER_MODEL})
    assert not explains(told, OTHER_MODEL, counted={MODEL, OTHER_MODEL}, billed={MODEL, OTHER_MODEL})


def test_a_call_of_another_usage_endpoint_explains_nothing_here() -> None:
    assert not explains(unknown(usage_endpoint="embeddings"), MODEL, counted={MODEL}, billed={MODEL})


def test_an_unknown_call_for_images_may_be_billed_in_tokens_of_its_own_model_alone() -> None:
    drawing = unknown(usage_endpoint="images", model="gpt-image-1", models=frozenset({"gpt-image-1"}))
    assert explains(drawing, "gpt-image-1", counted={MODEL}, billed={MODEL, "gpt-image-1"})
    assert not explains(drawing, MODEL, counted={MODEL}, billed={MODEL, "gpt-image-1"})
    assert not explains(drawing, "other", counted={MODEL}, billed={MODEL, "other"})


def test_image_calls_that_told_no_tokens_are_unknown_work_of_their_model_once_such_tokens_are_known_to_be_billed() -> (
    None
):
    silent, told = pictured(), pictured(input_tokens=50, output_tokens=4160)
    (able,) = able_calls([silent, told], (), {"image_tokens": True})
    assert (able.because, able.usage_endpoint, able.models) == (
        Because.UNKNOWN,
        UsageEndpoint.COMPLETIONS,
        frozenset({"gpt-image-1"}),
    )
    assert able_calls([silent], (), {"image_tokens": False}) == ()
    assert able_calls([silent], ()) == (), "their tokens are set aside"
    assert able_calls([replace(silent, model=None)], (), {"image_tokens": True}) == (), "not of any model there is"


IMAGES = UsageEndpoint.IMAGES
DRAWN, KNOWN = "gpt-image-1", "gpt-image-2"


def explains_images(row: BookRow, model: str, *, endpoint: UsageEndpoint = IMAGES) -> bool:
    """Whether a call of a key that counts images of KNOWN, and is billed for DRAWN ones too, explains an excess."""
    known = key_facts(
        uses=uses_of([booked(), pictured(model=KNOWN)]),
        billed={(each, model) for each in (IMAGES, UsageEndpoint.COMPLETIONS) for model in (DRAWN, KNOWN)},
        proven=True,
    ).pairs
    pair = next(each for each in known if each.usage_endpoint is endpoint and each.names(model))
    return bool(explained_minutes(able_calls([row], ()), pair, known))


def test_a_hosted_tool_may_be_billed_for_images_of_a_model_that_no_call_names_and_a_plain_call_for_none() -> None:
    hosted = booked(hosted=True, loose=True)
    assert explains_images(hosted, DRAWN)
    assert not explains_images(hosted, KNOWN)
    assert not explains_images(booked(loose=True), DRAWN)
    assert not explains_images(unknown(), DRAWN)


def test_a_hosted_tool_that_told_tokens_of_images_may_be_billed_for_images_of_any_model_and_their_tokens() -> None:
    drew = booked(hosted=True, loose=True, optional_class="image_gen")
    for endpoint in (IMAGES, UsageEndpoint.COMPLETIONS):
        assert explains_images(drew, DRAWN, endpoint=endpoint)
        assert explains_images(drew, KNOWN, endpoint=endpoint)
    hosted = booked(hosted=True, loose=True)
    assert not explains_images(hosted, KNOWN, endpoint=UsageEndpoint.COMPLETIONS)
    both = pairs({MODEL, OTHER_MODEL}, {MODEL, OTHER_MODEL})
    assert not explained_minutes(able_calls([drew], ()), both[OTHER_MODEL], tuple(both.values()))


def test_a_gap_in_a_journal_is_a_call_that_may_be_anything() -> None:
    (able,) = able_calls([], [Gap(first_minute=1000, last_minute=1002, calls=3)])
    assert (able.because, able.models, able.calls, able.run) == (Because.GAP, frozenset(), 3, None)


def test_only_unknown_optional_and_hosted_calls_may_be_billed_beside_the_book() -> None:
    said = {
        str(row.standing): [each.because for each in able_calls([row], ())]
        for row in (
            booked(),
            unknown(),
            booked(standing=Standing.UNBILLED),
            booked(standing=Standing.UNCOVERED),
            booked(standing=Standing.OPTIONAL, optional_class="warm_up"),
        )
    }
    assert said == {
        "counted": [],
        "unknown": [Because.UNKNOWN],
        "unbilled": [],
        "uncovered": [],
        "optional": [Because.OPTIONAL],
    }
    assert [each.because for each in able_calls([booked(hosted=True)], ())] == [Because.HOSTED]


def test_an_optional_call_explains_nothing_once_it_is_known_whether_its_class_is_billed() -> None:
    told = booked(standing=Standing.OPTIONAL, optional_class="warm_up")
    silent = booked(
        standing=Standing.OPTIONAL,
        optional_class="warm_up",
        input_tokens=None,
        cached_input_tokens=None,
        output_tokens=None,
    )
    for row, billed, because in (
        (told, {}, [Because.OPTIONAL]),
        (told, {"other": True}, [Because.OPTIONAL]),
        (told, {"warm_up": True}, []),
        (told, {"warm_up": False}, []),
        (silent, {}, [Because.OPTIONAL]),
        (silent, {"warm_up": False}, []),
        (silent, {"warm_up": True}, [Because.OPTIONAL]),
    ):
        assert [each.because for each in able_calls([row], (), billed)] == because
