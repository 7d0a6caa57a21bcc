"""What a request's body tells, from JSON and from forms."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.request_body import RequestFacts, RequestReader

FORM = "multipart/form-data; boundary=----x1"


def facts(body: bytes, content_type: str | None = "application/json", encoding: str | None = None) -> RequestFacts:
    """The facts of a body, the same whole, byte by byte and cut in two anywhere."""
    whole = _facts([body], content_type, encoding)
    assert _same(_facts([body[at : at + 1] for at in range(len(body))], content_type, encoding), whole)
    for cut in range(0, len(body), 3):
        assert _same(_facts([body[:cut], body[cut:]], content_type, encoding), whole)
    return whole


def _same(one: RequestFacts, other: RequestFacts) -> bool:
    """How far a broken coding went before it was noticed depends on the cuts; nothing else does."""
    if (other.unreadable or "").startswith("broken_"):
        one = replace(one, body_bytes=other.body_bytes)
    return one == other


def _facts(chunks: list[bytes], content_type: str | None, encoding: str | None) -> RequestFacts:
    reader = RequestReader(content_type, encoding)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.facts()


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(
        b"------x1\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (head.encode(), value)
        for head, value in parts
    ) + (b"------x1--\r\n")


def test_a_chat_request_says_what_it_asks_for() -> None:
    body = {
        "model": "gpt-x",
        "stream": True,
        "stream_options": {"include_usage": False, "include_obfuscation": False},
        "n": 2,
        "store": False,
        "service_tier": "flex",
        "response_format": {"type": "json_object"},
        "messages": [{"role": "user", "content": 'model": "no"'}],
    }
    data = json.dumps(body).encode()
    assert facts(data) == RequestFacts(
        model="gpt-x",
        stream=True,
        stream_options_include_usage=False,
        n=2,
        store=False,
        service_tier="flex",
        response_format="json_object",
        body_bytes=len(data),
    )


@pytest.mark.parametrize(
    ("body", "searches"),
    [
        ({"model": "gpt-4o", "web_search_options": {}}, True),
        ({"model": "gpt-5-search-api-2025-10-14"}, True),
        ({"model": "gpt-4o", "web_search_options": None}, False),
        ({"model": "gpt-4o", "messages": [{"content": "web_search_options"}]}, False),
    ],
)
def test_a_chat_that_searches_says_so_by_its_options_or_its_model(body: dict[str, Any], searches: bool) -> None:
    assert facts(json.dumps(body).encode()).searches is searches


def test_absent_is_not_false() -> None:
    read = facts(b'{"model":"m","stream":null,"stream_options":null}')
    assert (read.stream, read.stream_options_include_usage, read.background, read.n) == (None, None, None, None)


def test_background_and_speech_are_read() -> None:
    assert facts(b'{"background":true}').background is True
    speech = facts(json.dumps({"model": "tts", "voice": "alloy", "input": "żółw", "stream_format": "sse"}).encode())
    assert (speech.input_characters, speech.stream_format) == (4, "sse")
    assert facts(b'{"model":"e","input":"text"}').input_characters is None


@pytest.mark.parametrize(
    ("member", "value"), [("model", 5), ("stream", "yes"), ("n", True), ("n", -1), ("n", 1.5), ("stream_options", [1])]
)
def test_a_value_of_the_wrong_kind_says_nothing(member: str, value: Any) -> None:
    read = facts(json.dumps({member: value}).encode())
    assert (read.model, read.stream, read.n, read.stream_options_include_usage) == (None, None, None, None)
    assert read.unreadable is None


def test_a_long_request_is_scanned_and_says_the_same() -> None:
    reader = RequestReader("application/json", None)
    reader.feed(b'{"messages":[{"content":"')
    for _ in range(80):
        reader.feed(b"QUJD" * 16_384)
    reader.feed(b'"}],"stream_options":{"include_usage":true},"stream":true,"model":"gpt-x"}')
    read = reader.facts()
    assert (read.model, read.stream, read.stream_options_include_usage) == ("gpt-x", True, True)
    assert read.body_bytes > 5 * 1024 * 1024


def test_a_compressed_request_is_read_from_a_copy() -> None:
    assert facts(gzip.compress(b'{"model":"m"}', mtime=0), encoding="gzip").model == "m"
    assert facts(b"not gzip at all", encoding="gzip").unreadable == "broken_gzip"
    assert facts(b"{}", encoding="rot13").unreadable == "unknown_encoding"


def test_broken_and_empty_requests_say_so_or_nothing() -> None:
    assert facts(b'{"model":"m"').unreadable == "truncated_json"
    assert facts(b"<xml>").unreadable == "broken_json"
    assert facts(b"") == RequestFacts()


def test_json_is_read_whatever_the_content_type_says() -> None:
    assert facts(b'{"model":"m"}', None).model == "m"
    assert facts(b'{"model":"m"}', "text/plain").model == "m"


def test_a_forms_fields_are_read_and_its_files_passed_over() -> None:
    body = form(
        (
            'name="file"; filename="model.wav"\r\nContent-Type: audio/wav',
            b'\r\n--x; name="model"\r\n\r\nno' + bytes(99),
        ),
        ('name="model"', b"gpt-4o-transcribe"),
        ('name="stream"', b"true"),
        ('name="response_format"', b"json"),
        ('name="n"', b"2"),
        ('name="prompt"', b"a secret"),
    )
    read = facts(body, FORM)
    assert read == RequestFacts(
        model="gpt-4o-transcribe", stream=True, response_format="json", n=2, body_bytes=len(body)
    )


def test_a_form_may_have_a_quoted_boundary_a_preamble_and_empty_values() -> None:
    body = b"preamble\r\n" + form(('name="stream"', b""), ('name="model"', b"m"))
    read = facts(body, 'multipart/form-data; charset=utf-8; boundary="----x1"')
    assert (read.model, read.stream) == ("m", None)


def test_a_file_named_like_a_field_is_not_that_field() -> None:
    body = form(('name="model"; filename="a"', b"nope"), ('name="n"', b"x" * 9000))
    assert facts(body, FORM) == RequestFacts(body_bytes=len(body))


def test_a_form_without_a_boundary_says_nothing() -> None:
    assert facts(form(('name="model"', b"m")), "multipart/form-data").model is None


def test_a_file_is_not_held_in_memory() -> None:
    reader = RequestReader(FORM, None)
    reader.feed(form(('name="model"', b"m"))[:-10] + b"\r\n------x1\r\nContent-Disposition: form-data; ")
    reader.feed(b'name="file"; filename="a"\r\n\r\n')
    for _ in range(50):
        reader.feed(b"\r\n------" * 8192)
    assert reader._form is not None
    assert len(reader._form._buffer) < 1000


PIECES = st.sampled_from([b"------x1", b"\r\n", b"--", b'form-data; name="model"', b"v", b'{"n":'])


@given(
    st.binary(max_size=200) | st.lists(PIECES, max_size=20).map(b"".join),
    st.sampled_from([None, "application/json", FORM, "multipart/form-data", "multipart/mixed; boundary=a"]),
    st.sampled_from([None, "gzip", "br", "?"]),
)
def test_no_body_makes_the_reader_raise(body: bytes, content_type: str | None, encoding: str | None) -> None:
    assert facts(body, content_type, encoding).body_bytes >= 0
