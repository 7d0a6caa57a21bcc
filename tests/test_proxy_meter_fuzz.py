"""Garbage into the meter: nothing makes it raise, and no cut changes what it reads."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import brotli
import orjson
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.meter import Meter, Reading

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"


def read(chunks: list[bytes], path: str, content_type: str | None, encoding: str | None, status_code: int) -> Reading:
    """The reading of a body in these chunks, whose every part a journal line can hold."""
    meter = Meter(
        find_endpoint("POST", f"/v1/{path}"),
        status_code=status_code,
        content_type=content_type,
        content_encoding=encoding,
    )
    assert sum(meter.feed(chunk) for chunk in chunks) <= 1
    meter.finish()
    reading = meter.reading()
    line = [reading.usage, reading.tool_usage, reading.response_id, reading.response_model, reading.response_status]
    assert b"\n" not in orjson.dumps([line, reading.error, reading.service_tier, reading.batch_id])
    return reading


def said(reading: Reading) -> list[object]:
    """All of a reading in a form that compares: a fragment equals another by identity alone."""
    verbatim = orjson.dumps([reading.usage, reading.tool_usage])
    return [verbatim, *(getattr(reading, name) for name in Reading.__slots__ if name not in ("usage", "tool_usage"))]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
NAMES = [
    *("usage", "tool_usage", "id", "model", "status", "object", "type", "choices", "created", "created_at", "error"),
    *("background", "service_tier", "output", "item", "response", "data", "last_error", "code", "param"),
]
WORDS = [
    *("response", "thread.run", "chat.completion.chunk", "batch", "response.completed", "response.created", "queued"),
    *("response.output_item.done", "image_edit.completed", "transcript.text.done", "error", "completed", "mcp_call"),
]
OBJECTS = st.dictionaries(st.sampled_from(NAMES), ANYTHING | st.sampled_from(WORDS), max_size=6)
NESTED = st.builds(
    lambda outer, inner, name: {**outer, **({name: inner} if name else {})},
    OBJECTS,
    OBJECTS,
    st.sampled_from([None, "response", "item", "usage", "error"]),
)
BODIES = st.one_of(
    NESTED.map(lambda members: json.dumps(members).encode()),
    st.lists(NESTED, max_size=3).map(
        lambda events: b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    ),
    st.binary(max_size=200),
    st.text(alphabet='{}[]",:\\u0usage response.completed\n\r data', max_size=200).map(str.encode),
    st.lists(
        st.sampled_from(
            [
                b"data: ",
                b"\n",
                b"\r\n",
                b"\n\n",
                b'{"usage":{"prompt_tokens":1}}',
                b'{"type":"response.completed","response":',
                b'{"type":"error"}',
                b"[DONE]",
                b"}",
                b"null",
                b'{"type":"response.completed","response":[]}',
                b'{"object":"thread.run","status":{},"usage":[]}',
                b'{"error":[1],"choices":5}',
                b'{"type":"image_generation.completed","usage":"x"}',
                b'{"type":"response.output_item.done","item":3}',
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


@given(
    BODIES,
    st.sampled_from([JSON, SSE, None, "audio/mpeg", "text/plain", "\x00;;/json"]),
    st.sampled_from([None, "identity", "?"]),
    st.sampled_from(["chat/completions", "responses", "images/edits", "nothing/known"]),
    st.sampled_from([200, 400, 503]),
    st.integers(0, 200),
)
def test_no_body_makes_the_meter_raise_and_no_cut_changes_its_reading(
    body: bytes, content_type: str | None, encoding: str | None, path: str, status_code: int, cut: int
) -> None:
    whole = read([body], path, content_type, encoding, status_code)
    for chunks in ([body[:cut], body[cut:]], [bytes([byte]) for byte in body]):
        assert said(read(chunks, path, content_type, encoding, status_code)) == said(whole)


@given(
    BODIES,
    st.sampled_from([JSON, SSE, None]),
    st.sampled_from([("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)]),
    st.integers(0, 200),
    st.binary(max_size=3),
)
def test_no_damage_to_a_compressed_body_makes_the_meter_raise(
    body: bytes, content_type: str | None, coding: tuple[str, Callable[[bytes], bytes]], at: int, damage: bytes
) -> None:
    """How much is read before the damage is noticed depends on the cuts; that is not compared."""
    encoding, encode = coding
    packed = bytearray(encode(body))
    packed[at : at + len(damage)] = damage
    read([bytes(packed)], "responses", content_type, encoding, 200)
    read([bytes([byte]) for byte in packed], "responses", content_type, encoding, 200)


@given(st.sampled_from(["gzip", "br", "zstd", "deflate", "br, gzip"]), st.binary(max_size=60))
def test_no_garbage_under_a_coding_makes_the_meter_raise(encoding: str, body: bytes) -> None:
    read([body], "chat/completions", JSON, encoding, 200)
    read([bytes([byte]) for byte in body], "chat/completions", SSE, encoding, 200)
