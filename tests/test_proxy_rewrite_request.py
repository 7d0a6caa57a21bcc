"""Asking for usage in a request's body: one member more, every other byte kept, or nothing changed at all."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.rewrite_request import BODY_BYTES_MAX, ask_for_usage, may_ask

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b' { "stream" : true\n} ', b' { "stream" : true,"stream_options":{"include_usage":true}\n} '),
        (b'{"stream":true,"stream_options":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{},"stream":true}', b'{"stream_options":{"include_usage":true},"stream":true}'),
        (
            b'{"stream_options": { "include_obfuscation": false, "new": [1] }, "stream":true}',
            b'{"stream_options": {"include_usage":true, "include_obfuscation": false, "new": [1] }, "stream":true}',
        ),
        (
            b'{"stream":true,"stream_options":{"a":1,"include_usage": false,"b":{"include_usage":false}}}',
            b'{"stream":true,"stream_options":{"a":1,"include_usage": true,"b":{"include_usage":false}}}',
        ),
        (
            b'{"stream":true,"stream_options":{"include_usage":null}}',
            b'{"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"user":"\\"stream\\":false,\\u00e9\\ud83d","stream":true,"n":1e400}',
            b'{"user":"\\"stream\\":false,\\u00e9\\ud83d","stream":true,"n":1e400,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_usage_is_asked_for_and_every_other_byte_is_kept(body: bytes, asked: bytes) -> None:
    assert ask_for_usage(body, None) == asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[true]",
        b'{"stream":false}',
        b'{"stream":null}',
        b'{"stream":"true"}',
        b'{"stream":1}',
        b'{"messages":[{"stream":true}]}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":"yes"}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"usage"}',
        b'{"stream":true,"stream":true}',
        b'{"stream":false,"stream":true}',
        b'{"stream":true,"stream_options":{},"stream_options":{}}',
        b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":false}}',
        b'{"stre\\u0061m":true}',
        b'{"stream":true,"stream_\\u006fptions":{}}',
        b'{"stream":true',
        b'{"stream":true}}',
        b'\xef\xbb\xbf{"stream":true}',
    ],
)
def test_what_needs_no_asking_or_is_not_certain_is_left_alone(body: bytes) -> None:
    assert ask_for_usage(body, None) is None


@given(st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=6), st.booleans(), st.data())
def test_what_the_provider_reads_is_the_request_and_the_question(
    request: dict[str, Any], pretty: bool, data: st.DataObject
) -> None:
    request["stream"] = True
    if data.draw(st.booleans()):
        options = data.draw(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3))
        options.update(data.draw(st.sampled_from([{}, {"include_usage": False}, {"include_usage": None}])))
        request["stream_options"] = options
    body = json.dumps(request, indent=2 if pretty else None, ensure_ascii=data.draw(st.booleans()))
    asked = ask_for_usage(body.encode("utf-8", "surrogatepass"), None)
    if asked is None:
        # A name spelled with an escape could be any name.
        assert "\\" in body
        return
    options = {**request.get("stream_options", {}), "include_usage": True}
    assert json.loads(asked) == {**request, "stream_options": options}


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_is_asked_in_and_answered_plain(encoding: str, encode: Any) -> None:
    body = b'{"stream":true,"messages":[]}'
    asked = b'{"stream":true,"messages":[],"stream_options":{"include_usage":true}}'
    assert ask_for_usage(encode(body), encoding) == asked
    assert ask_for_usage(encode(body)[:-1], encoding) is None


def test_an_unknown_encoding_and_a_decompression_bomb_are_left_alone() -> None:
    assert ask_for_usage(b'{"stream":true}', "rot13") is None
    bomb = b'{"stream":true,"a":"' + b" " * BODY_BYTES_MAX + b'"}'
    assert ask_for_usage(gzip.compress(bomb), "gzip") is None


@pytest.mark.parametrize(
    ("method", "endpoint", "headers", "answer"),
    [
        ("POST", "chat/completions", {"content-type": "application/json", "content-length": "12"}, True),
        ("POST", "completions", {"content-length": "12"}, True),
        ("POST", "chat/completions", {"transfer-encoding": "chunked"}, True),
        ("GET", "chat/completions", {"content-length": "12"}, False),
        ("POST", "responses", {"content-length": "12"}, False),
        ("POST", "embeddings", {"content-length": "12"}, False),
        ("POST", None, {"content-length": "12"}, False),
        ("POST", "chat/completions", {}, False),
        ("POST", "chat/completions", {"content-length": "0"}, False),
        ("POST", "chat/completions", {"content-length": str(BODY_BYTES_MAX + 1)}, False),
        ("POST", "chat/completions", {"content-length": "12", "content-type": "Multipart/Form-Data"}, False),
    ],
)
def test_the_head_tells_which_bodies_are_held_back(
    method: str, endpoint: str | None, headers: dict[str, str], answer: bool
) -> None:
    assert may_ask(method, endpoint, headers) is answer
