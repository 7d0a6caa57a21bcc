"""Usage that we asked for, taken out of a stream: the client's bytes are those of the stream without it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.rewrite_stream import EVENT_BYTES_MAX, UsageHider

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
TRICKY = '"usage": null, {"usage":null} \\"usage\\" data: [DONE]\n\nü\u2028\U0001f600'


def chunk(usage: Any, choices: list[Any], **more: Any) -> dict[str, Any]:
    """A chunk as a server sends it when asked for usage (`usage` given), or when not (`usage` is `...`)."""
    return {**HEAD, "choices": choices, **({} if usage is ... else {"usage": usage}), **more}


def delta(index: int, **value: Any) -> dict[str, Any]:
    return {"index": index, "delta": value, "finish_reason": None}


def contents(nothing: Any) -> list[dict[str, Any]]:
    """Chunks with several choices, tools, audio and padding."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"usage": null}'}}
    return [
        chunk(nothing, [delta(0, role="assistant", content="")], obfuscation="aB3"),
        chunk(nothing, [delta(0, content=TRICKY), delta(1, content="x")], obfuscation="\\"),
        chunk(nothing, [delta(1, tool_calls=[call])]),
        chunk(nothing, [delta(0, audio={"data": "QUJD" * 50, "usage": None, "expires_at": 5})]),
        {**({} if nothing is ... else {"usage": nothing}), **chunk(..., [delta(0, content="first member")])},
        chunk(nothing, [{**delta(0), "finish_reason": "stop"}]),
    ]


def stream(asked: bool, *, line_end: str = "\n", separators: tuple[str, str] = (",", ":")) -> bytes:
    nothing: Any = None if asked else ...
    events: list[Any] = contents(nothing)
    if asked:
        events.append(chunk(USAGE, [], obfuscation="padded"))
    events.append(chunk(nothing, [], moderation={"results": [{"flagged": False}]}))
    events.append({"error": {"message": "usage", "type": "t"}})
    lines = [json.dumps(event, ensure_ascii=False, separators=separators) for event in events]
    text = "".join(f"data: {line}{line_end}{line_end}" for line in (*lines, "[DONE]"))
    return f": keep-alive{line_end}{line_end}{text}".encode()


def hidden(data: bytes, cuts: list[int] | None = None) -> bytes:
    hider = UsageHider()
    edges = [0, *sorted(cut for cut in set(cuts or []) if 0 < cut < len(data)), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(edges)]
    return b"".join([*(hider.feed(piece) for piece in pieces), hider.finish()])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\t", " : ")])
def test_what_goes_on_is_the_stream_without_usage_byte_for_byte(line_end: str, separators: tuple[str, str]) -> None:
    asked = stream(True, line_end=line_end, separators=separators)
    expected = stream(False, line_end=line_end, separators=separators)
    assert hidden(asked) == expected
    assert hidden(asked, list(range(len(asked)))) == expected


@given(st.lists(st.integers(1, 4000), max_size=60), st.sampled_from(["\n", "\r\n", "\r"]))
def test_cuts_change_nothing(cuts: list[int], line_end: str) -> None:
    assert hidden(stream(True, line_end=line_end), cuts) == stream(False, line_end=line_end)


def test_a_stream_that_was_not_asked_for_usage_passes_as_it_is() -> None:
    assert hidden(stream(False), [5, 99, 700]) == stream(False)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_garbage_passes_as_it_is(data: bytes, cuts: list[int]) -> None:
    assert hidden(data, cuts) == data


EVENT_WORDS = (
    b"data: ",
    b'{"usage":null',
    b',"a":"usage"',
    b"}",
    b"\n",
    b"\r",
    b"\r\n",
    b": c",
    b"[DONE]",
    b"event: x",
)


@given(st.lists(st.sampled_from(EVENT_WORDS), max_size=25), st.lists(st.integers(0, 150), max_size=8))
def test_any_cut_of_anything_gives_the_same_bytes(words: list[bytes], cuts: list[int]) -> None:
    data = b"".join(words)
    assert hidden(data, cuts) == hidden(data)


@given(st.lists(st.sampled_from(EVENT_WORDS), max_size=25), st.lists(st.integers(0, 150), max_size=8))
def test_giving_up_loses_and_repeats_nothing(words: list[bytes], cuts: list[int]) -> None:
    data = b"".join(words).replace(b"usage", b"other")
    for given_up_at in cuts:
        hider = UsageHider()
        first, rest = data[:given_up_at], data[given_up_at:]
        assert hider.feed(first) + hider.give_up() + hider.feed(rest) + hider.finish() == data


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'{"usage":null}', b"{}"),
        (b'{ "usage" : null }', b"{  }"),
        (b'{"usage":null,"a":1}', b'{"a":1}'),
        (b'{"a":1, "usage": null, "b":2}', b'{"a":1, "b":2}'),
        (b'{"a":1,\t"usage"\t:\tnull\t}', b'{"a":1\t}'),
        (b'{"a":{"usage":null},"usage":null}', b'{"a":{"usage":null}}'),
        (b'{"a":"\\",\\"usage\\":null","usage":null}', b'{"a":"\\",\\"usage\\":null"}'),
        (b'{"a":"\\ud83d","usage":null,"n":NaN}', b'{"a":"\\ud83d","n":NaN}'),
        (b'{"a":"\xff\xfe","usage":null}', b'{"a":"\xff\xfe"}'),
        (b'{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}', b'{"choices":[{"index":0}]}'),
    ],
)
def test_a_member_is_cut_with_one_comma_wherever_it_stands(event: bytes, left: bytes) -> None:
    assert hidden(b"data: %b\n\n" % event) == b"data: %b\n\n" % left


@pytest.mark.parametrize(
    "event",
    [
        b'{"a":{"usage":null}}',
        b'["usage",{"usage":null}]',
        b'{"a":"usage","b":"\\"usage\\":null"}',
        b'{"usage":null,"usage":null,"a":1}',
        b'{"us\\u0061ge":null,"a":"\\"usage\\""}',
        b'{"usage":null',
        b'{"usage":null}}',
        b'{"usage":"twelve"}',
        b'{"usage":[1]}',
        b'"usage"',
        b"usage",
    ],
)
def test_what_cannot_be_cut_for_certain_passes(event: bytes) -> None:
    assert hidden(b"data: %b\n\n" % event) == b"data: %b\n\n" % event


def test_an_event_over_several_lines_is_cut_across_them() -> None:
    event = b'event: chunk\ndata: {"a":1,\ndata:"usage":\r\ndata: null}\nid: 7\n\n'
    assert hidden(event) == b'event: chunk\ndata: {"a":1}\nid: 7\n\n'


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'data: {"usage":null,\ndata: "a":1}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"a":1,"usage":\ndata: {"x":\ndata: 1},\ndata:"b":2}\n\n', b'data: {"a":1,\ndata:"b":2}\n\n'),
        (b'data: {"a":1\ndata: ,"usage":null\ndata: ,"b":2}\n\n', b'data: {"a":1\ndata: ,"b":2}\n\n'),
        (b'data: {"usage":null,\nid: 7\ndata: "a":1}\n\n', b'data: {"usage":null,\nid: 7\ndata: "a":1}\n\n'),
    ],
)
def test_what_is_left_of_an_event_over_several_lines_is_whole(event: bytes, left: bytes, line_end: bytes) -> None:
    assert hidden(event.replace(b"\n", line_end)) == left.replace(b"\n", line_end)


def test_the_usage_chunk_goes_with_its_other_lines_but_not_with_a_comment() -> None:
    event = b'id: 7\n: ping\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert hidden(event + b"data: [DONE]\n\n") == b": ping\ndata: [DONE]\n\n"


def test_a_byte_order_mark_and_a_missing_last_blank_line_are_no_hindrance() -> None:
    assert hidden(b'\xef\xbb\xbfdata: {"a":1,"usage":null}\n\ndata:{"usage":{},"choices":[]}') == (
        b'\xef\xbb\xbfdata: {"a":1}\n\n'
    )


def test_comments_and_done_are_not_held_back() -> None:
    hider = UsageHider()
    assert hider.feed(b": ping\n") == b": ping\n"
    assert hider.feed(b'data: {"a"') == b""
    assert hider.feed(b":1}\n") == b""
    assert hider.feed(b"\n") == b'data: {"a":1}\n\n'
    assert hider.feed(b"data: [DO") == b""
    assert hider.feed(b"NE]") == b"data: [DONE]"
    assert hider.feed(b"\n") == b"\n"
    assert hider.feed(b"\ndata: x") == b"\n"
    assert hider.finish() == b"data: x"


def test_an_event_too_long_to_hold_passes_as_it_comes_and_the_next_is_cut_again() -> None:
    hider = UsageHider()
    long = b'data: {"usage":null,"a":"' + b"x" * EVENT_BYTES_MAX
    out = hider.feed(long) + hider.feed(b"y\n") + hider.feed(b"data: y") + hider.feed(b'"}\n')
    assert out == long + b'y\ndata: y"}\n'
    assert hider.feed(b'\ndata: {"usage":null}\n\n') == b"\ndata: {}\n\n"
