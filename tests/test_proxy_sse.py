"""Bytes to server-sent events, whole, byte by byte and at every cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.json_body import JsonBody
from submeter.proxy.sse import LINE_BYTES_MAX, Event, SseDecoder


def events(chunks: list[bytes]) -> list[tuple[bytes, bytes]]:
    """All events of a stream fed in these chunks; long data as the JSON it holds."""
    decoder = SseDecoder()
    found: list[Event] = []
    for chunk in chunks:
        found += decoder.feed(chunk)
    found += decoder.finish()
    return [(event.name, _bytes(event.data)) for event in found]


def _bytes(data: bytes | JsonBody) -> bytes:
    return json.dumps(dict(data.document().members)).encode() if isinstance(data, JsonBody) else data


def same_at_every_cut(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The events of a stream, the same whole, byte by byte and cut in two anywhere."""
    whole = events([stream])
    assert events([bytes([byte]) for byte in stream]) == whole
    for cut in range(len(stream) + 1):
        assert events([stream[:cut], stream[cut:]]) == whole
    return whole


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [(b"", b"YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n",
            [b"first", b"second", b" third"],
        ),
        (b"data\n\ndata\ndata\n\ndata:\n\n", [b"", b"\n", b""]),
        (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
        (b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n", [(b"add", b"73857293"), (b"remove", b"2153")]),
    ],
)
def test_the_standards_own_examples(stream: bytes, expected: list[bytes | tuple[bytes, bytes]]) -> None:
    """WHATWG HTML, section 9.2.6."""
    assert same_at_every_cut(stream) == [(b"", item) if isinstance(item, bytes) else item for item in expected]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_ends_with_any_of_three_line_ends(end: bytes) -> None:
    stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""])
    assert same_at_every_cut(stream) == [(b"a", b"1\n2"), (b"", b"3")]


def test_line_ends_may_be_mixed() -> None:
    assert same_at_every_cut(b"data: 1\r\n\ndata: 2\r\rdata: 3\n\r\n") == [(b"", b"1"), (b"", b"2"), (b"", b"3")]


def test_a_newline_that_does_not_follow_its_cr_at_once_is_a_line_end_of_its_own() -> None:
    assert same_at_every_cut(b"data: 1\rdata: 2\n\ndata: 3\r\r") == [(b"", b"1\n2"), (b"", b"3")]
    assert events([b"data: 1\r\rdata: 2", b"\n", b"\ndata: 3\n\n"]) == [(b"", b"1"), (b"", b"2"), (b"", b"3")]


def test_nothing_but_cr_and_lf_ends_a_line() -> None:
    data = "a\u2028b\u2029c\x0bd\x0ce\x85f".encode()
    assert same_at_every_cut(b"data: " + data + b"\n\n") == [(b"", data)]


def test_a_byte_order_mark_at_the_start_is_dropped() -> None:
    assert same_at_every_cut(b"\xef\xbb\xbfdata: 1\n\n") == [(b"", b"1")]


def test_the_last_event_may_lack_its_blank_line_and_its_line_end() -> None:
    assert same_at_every_cut(b"data: 1\n\ndata: 2\n") == [(b"", b"1"), (b"", b"2")]
    assert same_at_every_cut(b"data: 1\n\ndata: 2") == [(b"", b"1"), (b"", b"2")]


def test_comments_and_unknown_fields_and_events_without_data_say_nothing() -> None:
    assert same_at_every_cut(b": keep-alive\n\nretry: 5\n\nevent: x\n\nwhat: now\n\ndata: 1\n\n") == [(b"", b"1")]


def test_characters_may_be_cut_anywhere() -> None:
    data = '{"a":"żółć 🎉"}'.encode()
    assert same_at_every_cut(b"data: " + data + b"\n\n") == [(b"", data)]


def test_a_name_lasts_for_one_event() -> None:
    assert same_at_every_cut(b"event: a\ndata: 1\n\ndata: 2\n\n") == [(b"a", b"1"), (b"", b"2")]


def long_stream() -> bytes:
    big = json.dumps({"type": "x", "b64": "A" * (3 * LINE_BYTES_MAX), "usage": {"input_tokens": 5}}).encode()
    return b": " + b"c" * (2 * LINE_BYTES_MAX) + b"\n\ndata: 1\n\nevent: big\ndata: " + big + b"\n\ndata: 2\n\n"


@pytest.mark.parametrize("size", [1000, 65_536, 100_000, 10**9])
def test_long_data_is_handed_on_and_long_comments_are_passed_over(size: int) -> None:
    stream = long_stream()
    found = events([stream[start : start + size] for start in range(0, len(stream), size)])
    assert [name for name, _ in found] == [b"", b"big", b""]
    assert json.loads(found[1][1])["usage"] == {"input_tokens": 5}


def test_data_spread_over_many_lines_is_handed_on_once_it_is_long() -> None:
    lines = [b'data: {"usage":', *[b"data:" + b" " * 1000] * 100, b'data: {"a":1}}', b"", b"data: 2", b"", b""]
    stream = b"\n".join(lines)
    for size in (777, 10**9):
        found = events([stream[start : start + size] for start in range(0, len(stream), size)])
        assert json.loads(found[0][1]) == {"usage": {"a": 1}}
        assert found[1] == (b"", b"2")


def test_an_event_is_pending_when_its_lines_have_ended_but_it_has_not() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b'data: {"a":1}') == []
    assert decoder.pending() is None
    assert decoder.feed(b"\n") == []
    assert decoder.pending() == Event(b"", b'{"a":1}')
    assert decoder.feed(b"\n") == [Event(b"", b'{"a":1}')]
    assert decoder.pending() is None


def test_done_is_pending_before_its_line_ends_and_can_be_taken_once() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: [DON") == []
    assert decoder.pending() is None
    assert decoder.feed(b"E]") == []
    assert decoder.pending() == Event(b"", b"[DONE]")
    decoder.drop_pending()
    assert decoder.pending() is None
    assert decoder.feed(b"\n\ndata: 2\n\n") == [Event(b"", b"2")]


def test_done_behind_other_data_of_its_event_is_that_event_s_data_and_not_pending() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b'data: {"a":1}\ndata: [DONE]') == []
    assert decoder.pending() is None
    assert decoder.feed(b"\n\n") == [Event(b"", b'{"a":1}\n[DONE]')]


@pytest.mark.parametrize("more", [b"data: 2\n", b"data: [DONE]", b"event: e\ndata: " + b"x" * 70_000 + b"\n"])
def test_what_else_an_event_holds_that_was_taken_early_says_nothing(more: bytes) -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: [DONE]") == []
    decoder.drop_pending()
    for piece in (b"\n", more[:9], more[9:]):
        assert decoder.feed(piece) == []
        assert decoder.pending() is None
    assert decoder.feed(b"\n\ndata: 3\n\n") == [Event(b"", b"3")]


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"\r", b"\n", b"\n\n", b"event:", b":"])))
def test_garbage_gives_the_same_events_whole_and_byte_by_byte(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    assert events(chunks) == events([stream]) == events([bytes([byte]) for byte in stream])
