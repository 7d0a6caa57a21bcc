"""A usage object to counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.data.call import Flag, Usage
from submeter.proxy.usage import read_usage


def test_chat_names_and_responses_names_give_the_same_counts() -> None:
    chat = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 1, "text_tokens": 99},
        "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 2, "text_tokens": 6},
    }
    responses = {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 1, "text_tokens": 99},
        "output_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 2, "text_tokens": 6},
    }
    expected = Usage(
        input_tokens=100,
        cached_input_tokens=64,
        cache_write_tokens=8,
        output_tokens=20,
        reasoning_tokens=12,
        input_text_tokens=99,
        input_audio_tokens=1,
        output_text_tokens=6,
        output_audio_tokens=2,
        total_tokens=120,
    )
    assert read_usage(chat) == (expected, ())
    assert read_usage(responses) == (expected, ())


def test_singular_detail_names_are_read_too() -> None:
    counts, flags = read_usage(
        {
            "input_tokens": 30,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 20},
            "output_tokens": 5,
            "output_token_details": {"text_tokens": 5},
        }
    )
    assert (counts.input_text_tokens, counts.input_audio_tokens, counts.output_text_tokens) == (10, 20, 5)
    assert read_usage({"prompt_tokens": 9, "prompt_token_details": {"cached_tokens": 4}})[0].cached_input_tokens == 4
    assert flags == ()


def test_image_usage_keeps_its_split() -> None:
    counts, _ = read_usage(
        {
            "input_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            "output_tokens": 4160,
            "output_tokens_details": {"image_tokens": 4160, "text_tokens": 0},
        },
        images=2,
    )
    assert (counts.input_image_tokens, counts.output_image_tokens, counts.output_text_tokens) == (40, 4160, 0)
    assert counts.images == 2


def test_cached_tokens_at_the_top_level_count_where_the_details_are_silent() -> None:
    assert read_usage({"prompt_tokens": 9, "cached_tokens": 4})[0].cached_input_tokens == 4
    details = {"prompt_tokens": 9, "cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    assert read_usage(details)[0].cached_input_tokens == 5


def test_seconds_of_a_duration_usage_may_be_whole_or_not() -> None:
    assert read_usage({"type": "duration", "seconds": 12}) == (Usage(seconds=12.0), ())
    assert read_usage({"type": "duration", "seconds": 0.5}) == (Usage(seconds=0.5), ())


def test_absent_and_null_are_none_and_never_zero() -> None:
    assert read_usage({}) == (Usage(), ())
    assert read_usage({"prompt_tokens": None, "prompt_tokens_details": None, "seconds": None}) == (Usage(), ())
    assert read_usage({"prompt_tokens": 0})[0].input_tokens == 0


def test_a_null_under_one_name_lets_the_other_name_tell() -> None:
    assert read_usage({"prompt_tokens": None, "input_tokens": 7})[0].input_tokens == 7
    usage = {"input_tokens": 7, "prompt_tokens_details": None, "input_tokens_details": {"cached_tokens": 3}}
    assert read_usage(usage)[0].cached_input_tokens == 3


@pytest.mark.parametrize("value", [True, False, 3.0, "3", [3], {"a": 3}])
def test_a_count_that_is_no_whole_number_is_not_believed(value: Any) -> None:
    counts, flags = read_usage({"prompt_tokens": value, "completion_tokens": 2})
    assert (counts.input_tokens, counts.output_tokens) == (None, 2)
    assert flags == (Flag.COUNT_MALFORMED,)


def test_details_that_are_no_object_are_flagged() -> None:
    assert read_usage({"prompt_tokens": 1, "prompt_tokens_details": [1]})[1] == (Flag.COUNT_MALFORMED,)


def test_negative_and_absurd_counts_are_kept_and_flagged() -> None:
    assert read_usage({"prompt_tokens": -1}) == (Usage(input_tokens=-1), (Flag.COUNT_NEGATIVE,))
    assert read_usage({"prompt_tokens": 1_000_000_000}) == (Usage(input_tokens=1_000_000_000), ())
    assert read_usage({"prompt_tokens": 1_000_000_001})[1] == (Flag.COUNT_ABSURD,)


def test_a_count_that_no_column_can_hold_is_none_and_flagged() -> None:
    assert read_usage({"prompt_tokens": 2**63}) == (Usage(), (Flag.COUNT_ABSURD,))
    assert read_usage({"prompt_tokens": -(2**70)}) == (Usage(), (Flag.COUNT_NEGATIVE, Flag.COUNT_ABSURD))
    assert read_usage({"seconds": 2**80}) == (Usage(), (Flag.COUNT_ABSURD,))
    assert read_usage({"seconds": float("nan")}) == (Usage(), (Flag.COUNT_MALFORMED,))


def test_more_cached_than_input_is_kept_and_flagged() -> None:
    counts, flags = read_usage({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}})
    assert (counts.input_tokens, counts.cached_input_tokens) == (5, 6)
    assert flags == (Flag.CACHED_OVER_INPUT,)
    assert read_usage({"prompt_tokens_details": {"cached_tokens": 6}})[1] == ()


def test_a_total_that_is_not_the_sum_is_nobodys_fault() -> None:
    """docs/openai-usage.md A.10: the published compaction example does not add up."""
    assert read_usage({"input_tokens": 42897, "output_tokens": 12000, "total_tokens": 54912})[1] == ()


@pytest.mark.parametrize("total", [5120, 0, 20, 25, 23])
def test_a_total_far_from_its_parts_is_flagged(total: int) -> None:
    counts, flags = read_usage({"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": total})
    assert (counts.input_tokens, counts.output_tokens, counts.total_tokens) == (20, 1, total)
    assert flags == (() if abs(total - 21) <= 1 else (Flag.USAGE_CONTRADICTS,))


def test_an_embedding_s_total_is_its_prompt() -> None:
    assert read_usage({"prompt_tokens": 8, "total_tokens": 8})[1] == ()
    assert read_usage({"prompt_tokens": 0, "total_tokens": 8})[1] == (Flag.USAGE_CONTRADICTS,)


@pytest.mark.parametrize("right_first", [True, False])
def test_two_names_of_one_count_that_differ_are_flagged_and_those_that_agree_with_the_total_stand(
    right_first: bool,
) -> None:
    right, wrong = (3140, 1980), (0, 0)
    chat, responses = (right, wrong) if right_first else (wrong, right)
    usage = {
        **dict(zip(("prompt_tokens", "completion_tokens"), chat, strict=True)),
        **dict(zip(("input_tokens", "output_tokens"), responses, strict=True)),
        "total_tokens": 5120,
    }
    counts, flags = read_usage(usage)
    assert (counts.input_tokens, counts.output_tokens) == right
    assert flags == (Flag.USAGE_CONTRADICTS,)


def test_two_names_of_one_count_that_differ_are_flagged_where_no_total_says_which_is_right() -> None:
    assert read_usage({"prompt_tokens": 0, "input_tokens": 53}) == (Usage(input_tokens=0), (Flag.USAGE_CONTRADICTS,))
    assert read_usage({"prompt_tokens": 53, "input_tokens": 53}) == (Usage(input_tokens=53), ())


@pytest.mark.parametrize(("total", "output"), [(11, 0), (15, 4), (10, None), (None, None)])
def test_a_legacy_completion_without_its_count_has_what_the_total_leaves_over(
    total: int | None, output: int | None
) -> None:
    usage = {"prompt_tokens": 11, "total_tokens": total}
    assert read_usage(usage, legacy=True)[0].output_tokens == output
    assert read_usage(usage)[0].output_tokens is None


def test_a_legacy_completion_whose_count_cannot_be_read_has_none() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": "4", "total_tokens": 15}
    assert read_usage(usage, legacy=True)[0].output_tokens is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
_NAMES = st.sampled_from(
    ["prompt_tokens", "input_tokens", "total_tokens", "cached_tokens", "seconds", "prompt_tokens_details", "x"]
)


@given(st.dictionaries(_NAMES, _JSON))
def test_any_object_is_read_without_raising(usage: dict[str, Any]) -> None:
    counts, flags = read_usage(usage)
    assert isinstance(counts, Usage)
    assert len(set(flags)) == len(flags)
