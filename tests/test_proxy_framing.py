"""Where a message ends: whole, byte by byte, with another message behind it, and h11 asked for a second opinion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from time import process_time

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.framing import (
    CHUNK_LINE_BYTES_MAX,
    TRAILER_BYTES_MAX,
    Body,
    BodyError,
    ChunkedBody,
    request_body,
    response_body,
)
from submeter.proxy.loose_head import read_loosely
from submeter.proxy.message_head import (
    HEAD_BYTES_MAX,
    HeadError,
    HeadSizeError,
    forwarded_fields,
    forwarded_head,
    head_end,
    parse_request_head,
    parse_response_head,
    without_empty_lines,
)

POST = b"POST /v1/responses HTTP/1.1\r\nHost: h\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
BEHIND = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a reader made of the bytes of one message."""

    payload: bytes
    end: int | None
    """Where it ends; None: not in these bytes."""


def read(body: Body, raw: bytes, cuts: Sequence[int] = ()) -> Seen:
    """Feed the body in pieces that end at `cuts`; raises `BodyError`."""
    payload = b""
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(raw)), len(raw)]
    for begin, end in itertools.pairwise(edges):
        if body.ended:
            return Seen(payload=payload, end=begin)
        pieces, taken = body.take(raw[begin:end])
        payload += b"".join(pieces)
        if body.ended:
            return Seen(payload=payload, end=begin + taken)
        assert taken == end - begin
    return Seen(payload=payload, end=0 if body.ended else None)


def chunked(raw: bytes, cuts: Sequence[int] = ()) -> Seen:
    return read(ChunkedBody(), raw, cuts)


WHOLE = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"05\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    (b'2;name=value;other="a b"\r\nhi\r\n0;last\r\n\r\n', b"hi"),
    (b"2 \r\nhi\r\n0\r\n\r\n", b"hi"),
    (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    (b"2\r\nhi\r\n0\r\nX-Checksum: 1\r\nServer-Timing: a;dur=1\r\n\r\n", b"hi"),
]


@pytest.mark.parametrize(("raw", "payload"), WHOLE)
def test_a_chunked_body_ends_at_its_last_byte_however_it_is_cut(raw: bytes, payload: bytes) -> None:
    whole = Seen(payload=payload, end=len(raw))
    assert chunked(raw) == whole
    assert chunked(raw, range(len(raw))) == whole
    assert chunked(raw + BEHIND) == whole
    for cut in range(len(raw)):
        assert chunked(raw + BEHIND, [cut]) == whole
        assert chunked(raw[:cut]).end is None


@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: 1\r\n folded\r\n\r\n",
        b"0\r\nX: a\x00b\r\n\r\n",
        b"0\r\nnot a field\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
        b"g\r\n",
        b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"8000000000000000\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: " + b"x" * TRAILER_BYTES_MAX + b"\r\n\r\n",
        b"0\r\n" + b"X: 1\r\n" * (TRAILER_BYTES_MAX // 6 + 1) + b"\r\n",
        b"5;" + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"x" * CHUNK_LINE_BYTES_MAX,
    ],
)
def test_chunks_that_readers_could_see_differently_are_an_error(raw: bytes) -> None:
    with pytest.raises(BodyError):
        chunked(raw)
    with pytest.raises(BodyError):
        chunked(raw, [1, 2, 3, 4, 5, 6, 7])


def test_the_largest_chunk_size_is_one_and_nothing_of_it_has_come() -> None:
    assert chunked(b"7fffffffffffffff\r\n") == Seen(payload=b"", end=None)


def test_what_stands_behind_the_payload_is_kept_for_one_who_frames_it_anew() -> None:
    body = ChunkedBody()
    read(body, b"2\r\nhi\r\n0;x\r\nX-Checksum: 1\r\n\r\nrest", [9, 12])
    assert body.tail == b"0;x\r\nX-Checksum: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "raw", "seen"),
    [
        (b"", b"abc", Seen(payload=b"", end=0)),
        (b"Content-Length: 0\r\n", b"abc", Seen(payload=b"", end=0)),
        (b"Content-Length: 2\r\n", b"abc", Seen(payload=b"ab", end=2)),
        (b"content-length:\t2 \r\n", b"abc", Seen(payload=b"ab", end=2)),
        (b"Content-Length: 4\r\n", b"abc", Seen(payload=b"abc", end=None)),
        (b"Transfer-Encoding: Chunked\r\n", b"1\r\na\r\n0\r\n\r\nb", Seen(payload=b"a", end=11)),
    ],
)
def test_a_request_s_body_ends_as_its_head_says(fields: bytes, raw: bytes, seen: Seen) -> None:
    body = request_body(parse_request_head(POST + fields + b"\r\n"))
    assert read(body, raw) == seen
    assert not body.until_close


@pytest.mark.parametrize(
    ("method", "status", "fields", "seen"),
    [
        ("POST", b"200 OK", b"", Seen(payload=b"abc", end=None)),
        ("POST", b"200", b"Content-Length: 2\r\n", Seen(payload=b"ab", end=2)),
        ("HEAD", b"200 OK", b"Content-Length: 2\r\n", Seen(payload=b"", end=0)),
        ("HEAD", b"200 OK", b"Transfer-Encoding: chunked\r\n", Seen(payload=b"", end=0)),
        ("GET", b"204 No Content", b"", Seen(payload=b"", end=0)),
        ("GET", b"304 Not Modified", b"Content-Length: 2\r\n", Seen(payload=b"", end=0)),
    ],
)
def test_an_answer_s_body_ends_as_its_head_and_its_request_say(
    method: str, status: bytes, fields: bytes, seen: Seen
) -> None:
    body = response_body(parse_response_head(b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n"), method)
    assert read(body, b"abc") == seen
    assert body.until_close == (fields == b"" and status == b"200 OK")


IN_DOUBT = [
    b"Content-Length: 4\r\nContent-Length: 4\r\n",
    b"Content-Length: 4\r\nContent-Length: 5\r\n",
    b"Content-Length: 4, 4\r\n",
    b"Content-Length: +4\r\n",
    b"Content-Length: -4\r\n",
    b"Content-Length: 0x4\r\n",
    b"Content-Length: 4 4\r\n",
    b"Content-Length:\r\n",
    b"Content-Length: \xb2\r\n",
    b"Content-Length: 9999999999999999999\r\n",
    b"Content-Length: 18446744073709551620\r\n",
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"X: a\r\n b\r\n",
    b"X: a\r\n\tb\r\n",
    b"X:\r\n Content-Length: 4\r\n",
    b"X : a\r\n",
    b"X\t: a\r\n",
    b": a\r\n",
    b"X: a\nContent-Length: 4\r\n",
    b"X: a\rContent-Length: 4\r\n",
    b"X: a\x00b\r\n",
    b"X: a\x0bb\r\n",
    b"X\xe9: a\r\n",
    b"X(: a\r\n",
]


@pytest.mark.parametrize("fields", IN_DOUBT)
def test_a_head_that_readers_could_see_differently_is_an_error(fields: bytes) -> None:
    with pytest.raises(HeadError):
        request_body(parse_request_head(POST + fields + b"\r\n"))
    with pytest.raises(HeadError):
        response_body(parse_response_head(OK + fields + b"\r\n"), "POST")


def test_chunks_in_http_1_0_are_in_doubt() -> None:
    with pytest.raises(HeadError):
        request_body(parse_request_head(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"))


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / HTTP/0.9",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / http/1.1",
        b"GET / ICE/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET /a\x00b HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"P\xffST / HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1\rX: 1",
        b"",
    ],
)
def test_a_request_line_that_readers_could_see_differently_is_an_error(line: bytes) -> None:
    with pytest.raises(HeadError):
        parse_request_head(line + b"\r\nHost: h\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/2.0 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 a\x00b",
        b"HTTP/1.1 200 OK\rX: 1",
    ],
)
def test_a_status_line_that_readers_could_see_differently_is_an_error(line: bytes) -> None:
    with pytest.raises(HeadError):
        parse_response_head(line + b"\r\nX: 1\r\n\r\n")


def test_a_head_s_parts_are_what_it_says() -> None:
    raw = b"QUERY /caf\xc3\xa9?a HTTP/1.0\r\nX:\r\nY: \t a b \t\r\nx: \xff\r\n\r\n"
    head = parse_request_head(raw)
    assert (head.method, head.target, head.minor, head.raw) == ("QUERY", b"/caf\xc3\xa9?a", 0, raw)
    assert head.fields == ((b"X", b""), (b"Y", b"a b"), (b"x", b"\xff"))
    answer = parse_response_head(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (answer.status_code, answer.fields[1]) == (101, (b"Upgrade", b"websocket"))
    asked = parse_request_head(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nLast: 1\r\n\r\n")
    assert asked.fields[-1] == (b"Last", b"1")


def test_a_head_is_complete_at_its_empty_line_and_no_byte_before() -> None:
    raw = POST + b"\r\n"
    assert [head_end(raw[:cut]) for cut in range(len(raw))] == [None] * len(raw)
    assert head_end(raw + b"more\r\n\r\n") == len(raw)
    assert head_end(raw, len(raw) - 1) == len(raw)
    assert without_empty_lines(b"\r\n\r\n" + raw) == raw


def test_a_head_with_a_bare_lf_is_refused_before_it_ends_and_one_that_is_too_long_too() -> None:
    with pytest.raises(HeadError, match="bare LF"):
        head_end(b"GET / HTTP/1.1\nHost: h\n\n")
    with pytest.raises(HeadSizeError):
        head_end(POST + b"X: " + b"x" * HEAD_BYTES_MAX)
    with pytest.raises(HeadSizeError):
        head_end(POST + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n")
    fits = POST + b"X: ".ljust(HEAD_BYTES_MAX - len(POST) - 4, b"x") + b"\r\n\r\n"
    assert head_end(fits) == HEAD_BYTES_MAX


def test_a_head_goes_on_line_by_line_but_for_target_host_and_labels() -> None:
    raw = (
        b"POST /run/r-1/v1/x HTTP/1.1\r\nACCEPT:*/*\r\nhOST:  elsewhere\r\nX-Submeter-Run: r\r\n"
        b"X-Submeter-Runs: kept\r\nx-submeter-TOKEN:t\r\nContent-Length:  2 \r\nAccept: again\r\n\r\n"
    )
    head = parse_request_head(raw)
    assert forwarded_head(head, target=b"/v1/x", host=b"up:1") == (
        b"POST /v1/x HTTP/1.1\r\nACCEPT:*/*\r\nhOST: up:1\r\n"
        b"X-Submeter-Runs: kept\r\nContent-Length:  2 \r\nAccept: again\r\n\r\n"
    )
    assert [name for name, _ in forwarded_fields(head, host=b"up:1")] == [
        b"ACCEPT",
        b"hOST",
        b"X-Submeter-Runs",
        b"Content-Length",
        b"Accept",
    ]


def test_a_head_without_a_host_is_given_the_upstream_s() -> None:
    head = parse_request_head(b"GET /x HTTP/1.0\r\nX: 1\r\n\r\n")
    assert forwarded_head(head, target=b"/x", host=b"up") == b"GET /x HTTP/1.0\r\nHost: up\r\nX: 1\r\n\r\n"
    assert forwarded_fields(head, host=b"up")[0] == (b"Host", b"up")


def test_a_refused_head_is_read_as_far_as_it_goes_and_never_past_its_end() -> None:
    loose = read_loosely(
        b"P\xffST /v1/x HTTP/1.1\r\nX-Submeter-Run : r-1\r\nbroken\r\nA: b\r\n\r\nX-Submeter-Run: no\r\n"
    )
    assert loose is not None
    assert (loose.method, loose.target) == ("P\udcffST", b"/v1/x")
    assert loose.fields == ((b"X-Submeter-Run", b"r-1"), (b"A", b"b"))
    assert read_loosely(b"\x16\x03\x01nothing") is None


@pytest.mark.parametrize(
    "line", [b"X: a" + b" " * 250_000 + b"\x00", b"a" * 250_000, b"X:" + b"\t" * 250_000 + b"\r\x00"]
)
def test_a_refused_head_that_was_made_to_do_harm_costs_no_more_than_its_length(line: bytes) -> None:
    began_s = process_time()
    loose = read_loosely(b"GET /v1/x HTTP/1.1\r\n" + line + b"\r\nA: b\r\n\r\n")
    # Milliseconds; where it grew with the square of the length it was many minutes, and no other call went on.
    assert process_time() - began_s < 5
    assert loose is not None
    assert loose.fields == ((b"A", b"b"),)


# A second opinion: whatever we take and h11 takes too ends at the same byte, with the same payload.

PARTS = st.sampled_from(
    [b"0", b"1", b"5", b"a", b"\r\n", b"\n", b"\r", b";x", b" ", b"hello", b"X: 1", b"0\r\n\r\n", b"5\r\nhello\r\n"]
)
FIELDS = st.sampled_from(
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 05\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: CHUNKED \r\n",
        b"Connection: close\r\n",
        b"X:\r\n",
        b"X: a\r\n b\r\n",
        b"X : 1\r\n",
        b"X: 1\n",
        b"\r\n",
        b"X: \x7f\r\n",
        b"X: \xff\r\n",
    ]
)
CUTS = st.lists(st.integers(0, 80), max_size=4)


def second_opinion(connection: h11.Connection, raw: bytes) -> Seen | None:
    """What h11 makes of the bytes of one message; None: it takes them for none."""
    payload, ended = b"", False
    try:
        connection.receive_data(raw)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                payload += event.data
            elif isinstance(event, h11.EndOfMessage):
                ended = True
                break
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError:
        return None
    return Seen(payload=payload, end=len(raw) - len(connection.trailing_data[0]) if ended else None)


def our_opinion(raw: bytes, cuts: Sequence[int], *, answer_to: str | None) -> Seen | None:
    try:
        end = head_end(raw)
        if end is None:
            return Seen(payload=b"", end=None)
        if answer_to is None:
            body = request_body(parse_request_head(raw[:end]))
        else:
            body = response_body(parse_response_head(raw[:end]), answer_to)
        seen = read(body, raw[end:], cuts)
    except (HeadError, BodyError):
        return None
    return Seen(payload=seen.payload, end=None if seen.end is None else end + seen.end)


@pytest.mark.parametrize(("raw", "payload"), WHOLE)
def test_h11_takes_what_is_whole(raw: bytes, payload: bytes) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    theirs = second_opinion(h11.Connection(h11.SERVER), head + raw + BEHIND)
    assert theirs == Seen(payload=payload, end=len(head + raw))


@given(st.lists(FIELDS, max_size=4), st.lists(PARTS, max_size=8), CUTS)
def test_h11_sees_a_request_end_where_we_do(fields: list[bytes], parts: list[bytes], cuts: list[int]) -> None:
    raw = POST + b"".join(fields) + b"\r\n" + b"".join(parts)
    ours = our_opinion(raw, cuts, answer_to=None)
    theirs = second_opinion(h11.Connection(h11.SERVER), raw)
    assert ours is None or theirs is None or ours == theirs


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([b"200 OK", b"204 No", b"304 Not", b"401 No", b"200"]),
    st.lists(FIELDS, max_size=4),
    st.lists(PARTS, max_size=8),
    CUTS,
)
def test_h11_sees_an_answer_end_where_we_do(
    method: str, status: bytes, fields: list[bytes], parts: list[bytes], cuts: list[int]
) -> None:
    raw = b"HTTP/1.1 " + status + b"\r\n" + b"".join(fields) + b"\r\n" + b"".join(parts)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    ours = our_opinion(raw, cuts, answer_to=method)
    theirs = second_opinion(connection, raw)
    assert ours is None or theirs is None or ours == theirs


@given(st.lists(PARTS | st.binary(max_size=3), max_size=12), CUTS)
def test_h11_sees_chunks_end_where_we_do(parts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(parts)
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    try:
        ours: Seen | None = chunked(body, cuts)
    except BodyError:
        ours = None
    theirs = second_opinion(h11.Connection(h11.SERVER), head + body)
    if ours is not None and theirs is not None:
        assert ours.payload == theirs.payload
        assert ours.end == (None if theirs.end is None else theirs.end - len(head))
