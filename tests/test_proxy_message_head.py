"""What is looked up in a head at once, and that no head keeps the proxy looking."""

from __future__ import annotations

from time import thread_time

import pytest

from submeter.proxy.head import REQUEST_WANTED, RESPONSE_WANTED
from submeter.proxy.loose_head import read_loosely
from submeter.proxy.message_head import (
    HEAD_BYTES_MAX,
    HeadError,
    forwarded_head,
    parse_request_head,
    parse_response_head,
)

_VALUES = {b"content-length": b"3", b"transfer-encoding": b"chunked", b"connection": b"upgrade"}
CPU_S_MAX = 5.0
"""Some milliseconds are due; what is looked at again for each of its bytes takes minutes."""


@pytest.mark.parametrize("fields", [b"x", b"a: b" + b" " * 999, b" ", b"x ", b"a:", b"a:b\r\n"])
def test_a_refused_head_as_long_as_one_may_be_is_read_in_one_go(fields: bytes) -> None:
    head = b"POST /v1/x HTTP/1.1\r\n" + fields * (HEAD_BYTES_MAX // len(fields)) + b"\r\n"
    began_s = thread_time()
    assert read_loosely(head) is not None
    assert thread_time() - began_s < CPU_S_MAX


@pytest.mark.parametrize(
    "fields", [b"a: b" + b" " * 200_000 + b"c\r\n", b"a:" + b" " * 200_000 + b"\r\n", b"a: b\r\n" * 9999]
)
def test_a_head_as_long_as_one_may_be_is_taken_apart_and_goes_on_in_one_go(fields: bytes) -> None:
    began_s = thread_time()
    head = parse_request_head(b"POST /v1/x HTTP/1.1\r\n" + fields + b"Host: h\r\n\r\n")
    assert len(head.fields) == fields.count(b"\r\n") + 1
    assert forwarded_head(head, target=b"/x", host=b"up").endswith(b"Host: up\r\n\r\n")
    assert thread_time() - began_s < CPU_S_MAX


@pytest.mark.parametrize("name", REQUEST_WANTED)
def test_a_request_s_wanted_field_is_found_in_any_spelling(name: bytes) -> None:
    value = _VALUES.get(name, b"a  b")
    head = parse_request_head(b"POST / HTTP/1.1\r\n" + name.upper() + b":\t" + value + b" \r\nOther: 1\r\n\r\n")
    assert head.wanted == {name: [value]}
    assert head.said == {name: [value], b"other": [b"1"]}


@pytest.mark.parametrize("name", RESPONSE_WANTED)
def test_an_answer_s_wanted_field_is_found_in_any_spelling(name: bytes) -> None:
    value = _VALUES.get(name, b"a  b")
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nOther: 1\r\n" + name.title() + b":" + value + b"\r\n\r\n")
    assert head.wanted == {name: [value]}


def test_what_only_looks_like_a_wanted_field_is_not_taken_for_it() -> None:
    raw = (
        b"HTTP/1.1 200 date: no\r\nX-Date: no\r\ndates: no\r\nx: date: no\r\ndat: no\r\nDate:\t \r\n"
        b"X-Request-Id: a\r\nx-request-ID: b\r\n\r\n"
    )
    assert parse_response_head(raw).wanted == {b"date": [b""], b"x-request-id": [b"a", b"b"]}


@pytest.mark.parametrize("line", [b" folded", b"a : b", b"a", b":b", b"a: \x0b", b"a: b\rc", b"a: b\nc: d", b"\xff: b"])
def test_a_line_that_is_no_field_is_refused_in_either_head(line: bytes) -> None:
    with pytest.raises(HeadError):
        parse_request_head(b"GET / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n\r\n")
    with pytest.raises(HeadError):
        parse_response_head(b"HTTP/1.1 200 OK\r\nX: 1\r\n" + line + b"\r\n\r\n")
