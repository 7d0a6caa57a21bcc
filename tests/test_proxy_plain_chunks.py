"""Chunks of a stream that tell nothing new are passed over at once: the reading is what a look at each byte gives."""

from __future__ import annotations

import json
from dataclasses import fields

import orjson
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.framing import BodyError, ChunkedBody
from submeter.proxy.meter import Meter

_USAGE = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
_MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["chatcmpl-1", "chatcmpl-2", "", None, 7]),
        "object": st.sampled_from(["chat.completion.chunk", "text_completion", "thread.run", None, []]),
        "created": st.sampled_from([1790000000, 1790000001, 0, None, "1"]),
        "model": st.sampled_from(["gpt-4o", "gpt-4o-mini", "", None, {}]),
        "service_tier": st.sampled_from(["default", "flex", None]),
        "choices": st.just([{"index": 0, "delta": {"content": "a\n"}}]),
        "usage": st.sampled_from(
            [None, None, _USAGE, _USAGE | {"completion_tokens": 4, "total_tokens": 12}, {}, "none"]
        ),
        "error": st.sampled_from([None, {}, {"type": "server_error", "code": "x"}]),
        "type": st.sampled_from([None, "error", "response.completed", "unheard.of"]),
        "response": st.sampled_from([None, {"usage": {"input_tokens": 1.0}}, {"model": "gpt-5"}]),
        "tool_usage": st.just({"web_search": {"num_requests": 1.5}}),
        "status": st.sampled_from(["completed", "queued"]),
    },
)
_EVENTS = st.one_of(
    _MEMBERS.map(lambda members: b"data: " + json.dumps(members).encode() + b"\n\n"),
    _MEMBERS.map(lambda members: b"event: error\ndata: " + json.dumps(members).encode() + b"\n\n"),
    st.sampled_from(
        [
            b"data: [DONE]\n\n",
            b"data: {broken\n\n",
            b"data: []\n\n",
            b"data: \n\n",
            b"data: {}\r\n\r\n",
            b'data: {"a":\ndata: 1}\n\n',
            b": a comment\n\n",
            b"event: error\n",
            b"\xef\xbb\xbfdata: {}\n\n",
            b'data: {"model":"x',
            b"\n",
            b"data: {}\r",
        ]
    ),
)


def read(pieces: list[bytes]) -> bytes:
    """All that the reading of these bytes says."""
    endpoint = find_endpoint("POST", "/v1/chat/completions")
    meter = Meter(endpoint, status_code=200, content_type="text/event-stream", content_encoding=None)
    for piece in pieces:
        meter.feed(piece)
    meter.finish()
    said = meter.reading()
    return orjson.dumps({each.name: getattr(said, each.name) for each in fields(said)})


@given(st.lists(_EVENTS, max_size=8))
def test_a_stream_that_comes_event_by_event_reads_as_it_does_byte_by_byte(events: list[bytes]) -> None:
    assert read(events) == read([bytes([byte]) for byte in b"".join(events)])


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.binary(max_size=4), st.integers(0, 3))
def test_chunks_that_come_whole_end_where_those_do_that_come_byte_by_byte(
    chunks: list[bytes], damage: bytes, at: int
) -> None:
    whole = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks] + [b"0\r\n\r\n"]
    raw = b"".join(whole[:at]) + damage + b"".join(whole[at:])
    assert framed([raw]) == framed([bytes([byte]) for byte in raw])
    if not damage:
        assert framed(whole) == framed([raw]) == (b"".join(chunks), len(raw), True)


def framed(pieces: list[bytes]) -> tuple[bytes, int, bool] | None:
    """Payload, how many bytes are the message's, and whether it ended; None: it is misshapen."""
    body, payload, taken = ChunkedBody(), b"", 0
    try:
        for piece in pieces:
            if body.ended:
                break
            found, size = body.take(piece)
            payload += b"".join(found)
            taken += size
    except BodyError:
        return None
    return payload, taken, body.ended
