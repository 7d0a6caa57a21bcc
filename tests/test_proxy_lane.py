"""The lane on raw sockets: what goes over the wire byte for byte, what is refused, and what its lines say."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from lane_play import Lane, Part, Wire, lane_to, play
from tls import certified

from submeter.proxy.lane import NearSide

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
ANSWER = json.dumps({"id": "c-1", "object": "chat.completion", "model": "m", "choices": [], "usage": USAGE}).encode()
BODY = b'{"model":"m","messages":[]}'
CHAT = b"POST /run/r-1/v1/chat/completions HTTP/1.1\r\nhost: x\r\nContent-Type: application/json\r\n"
POST = CHAT + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = JSON + b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
CHUNKED = JSON + b"Transfer-Encoding: chunked\r\n\r\n"


def answering(*answers: bytes) -> Part:
    """An upstream that gives these answers, one a request, and then hangs on."""

    async def part(wire: Wire) -> None:
        for answer in answers:
            await wire.hear_request()
            wire.say(answer)
        await wire.hear_all()

    return part


def told(lane: Lane) -> list[tuple[str, int | None, int | None]]:
    return [(line["outcome"], line.get("status_code"), line.get("input_tokens")) for line in lane.lines()]


METERED = ("metered", 200, 12)

FRAMED = [
    WHOLE,
    CHUNKED + b"%x\r\n" % len(ANSWER) + ANSWER + b"\r\n0\r\n\r\n",
    CHUNKED + b"5;a=b;c\r\n" + ANSWER[:5] + b"\r\n0%X ;x\r\n" % (len(ANSWER) - 5) + ANSWER[5:] + b"\r\n000;end\r\n\r\n",
    CHUNKED + b"%x\r\n" % len(ANSWER) + ANSWER + b"\r\n0\r\nX-Checksum: 1\r\nServer-Timing: a\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE,
    b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
]


@pytest.mark.parametrize("raw", FRAMED)
def test_an_answer_passes_with_every_byte_of_its_framing_and_its_row_is_written_before_its_end(
    tmp_path: Path, raw: bytes
) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear_request()
        for at in range(0, len(raw), 7):
            wire.say(raw[at : at + 7])
            await wire.writer.drain()
            await asyncio.sleep(0)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(POST)
            assert await client.hear_bytes(len(raw) - 1) == raw[:-1]
            assert await client.hear_bytes(1) == raw[-1:]
            assert told(lane) == [METERED]

    play(scene())


def test_a_request_goes_on_line_by_line_and_byte_by_byte(tmp_path: Path) -> None:
    head = (
        b"POST /step/4.7/v1/chat/completions?a=%20 HTTP/1.1\r\nHOST:elsewhere\r\nx-LOWER:  two \r\n"
        b"X-Submeter-Run: r-9\r\nTransfer-Encoding: chunked\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"
    )
    body = b"6;ext\r\nhello!\r\n1\r\n \r\n0\r\nX-Trailer: t\r\n\r\n"
    seen: list[bytes] = []

    async def part(wire: Wire) -> None:
        seen.append(await wire.hear() + await wire.hear_bytes(len(body)))
        wire.say(WHOLE)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            # An endpoint whose streams tell their usage: nothing is held back.
            client.say(head.replace(b"chat/completions", b"responses"), body)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            [line] = lane.lines()
            assert (line["run_id"], line["step"], line["request_bytes"]) == ("r-9", "4.7", 7)
            host = b"127.0.0.1:%d" % lane.connections[0].writer.get_extra_info("sockname")[1]
        assert seen == [
            b"POST /v1/responses?a=%20 HTTP/1.1\r\nHOST: " + host + b"\r\nx-LOWER:  two \r\n"
            b"Transfer-Encoding: chunked\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n" + body
        ]

    play(scene())


def test_requests_sent_ahead_are_answered_in_their_order_and_go_on_one_by_one(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def part(wire: Wire) -> None:
        for number in range(3):
            heard.append((await wire.hear_request()).split(b" ")[1])
            # Nothing of the next request may be here before this one is answered.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wire.reader.read(1), 0.05)
            wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(*(GET.replace(b"models", b"models/%d" % number) for number in range(3)))
            answers = [await client.hear() + await client.hear_bytes(1) for _ in range(3)]
            assert [answer[-1:] for answer in answers] == [b"0", b"1", b"2"]
            assert len(lane.connections) == 1
        assert heard == [b"/v1/models/0", b"/v1/models/1", b"/v1/models/2"]

    play(scene())


def test_an_answer_before_the_request_has_ended_passes_and_the_connection_goes_on(tmp_path: Path) -> None:
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.say(early)
        await wire.hear_bytes(10)
        await wire.hear_request()
        wire.say(WHOLE)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(head, b"01234")
            assert await client.hear_bytes(len(early)) == early
            assert told(lane) == [("refused", 413, None)]
            client.say(b"56789", POST)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert told(lane)[1:] == [METERED]

    play(scene())


def test_an_early_answer_reaches_a_client_that_is_still_sending_when_the_upstream_closes(tmp_path: Path) -> None:
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
    early = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"

    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.say(early)

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(head)
            assert await client.hear_bytes(len(early)) == early
            client.say(b"x" * 3_000_000)
            await client.writer.drain()
            assert await client.hear_all() == b""
            assert told(lane) == [("refused", 413, None)]

    play(scene())


def test_expect_continue_passes_and_so_does_the_answer_to_it(tmp_path: Path) -> None:
    head = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    async def part(wire: Wire) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await wire.hear()
        wire.say(b"HTTP/1.1 100 Continue\r\nX-Of: upstream\r\n\r\n")
        assert await wire.hear_bytes(2) == b"{}"
        wire.say(WHOLE)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(head)
            assert await client.hear() == b"HTTP/1.1 100 Continue\r\nX-Of: upstream\r\n\r\n"
            client.say(b"{}")
            assert await client.hear_bytes(len(WHOLE)) == WHOLE

    play(scene())


def test_a_body_that_is_held_back_is_called_for_by_us(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def part(wire: Wire) -> None:
        seen.append(await wire.hear_request())
        wire.say(WHOLE)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(CHAT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            assert await client.hear() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.say(BODY)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
        [request] = seen
        assert request.endswith(b"\r\n\r\n" + BODY)
        assert b"Expect" not in request

    play(scene())


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (GET.replace(b"GET", b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        (GET.replace(b"GET", b"HEAD"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(tmp_path: Path, request_: bytes, answer: bytes) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(answer, WHOLE)) as lane:
            client = await lane.connect()
            client.say(request_)
            assert await client.hear_bytes(len(answer)) == answer
            assert len(lane.lines()) == 1
            client.say(POST)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert len(lane.connections) == 1

    play(scene())


@pytest.mark.parametrize("ends", ["closed", "reset"])
def test_an_answer_without_a_length_is_whole_if_its_connection_was_closed_and_broken_if_it_was_reset(
    tmp_path: Path, ends: str
) -> None:
    raw = JSON + b"\r\n" + ANSWER

    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(raw)
        if ends == "reset":
            await wire.hear(b"x")

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(POST)
            assert await client.hear_bytes(len(raw)) == raw
            if ends == "reset":
                lane.connections[0].reset()
                with pytest.raises(ConnectionError):
                    await client.hear_all()
            else:
                assert await client.hear_all() == b""
            assert told(lane) == [METERED if ends == "closed" else ("failed", 200, 12)]

    play(scene())


@pytest.mark.parametrize("by", ["client", "upstream", "http/1.0"])
def test_a_connection_that_either_side_means_to_close_is_closed_on_both(tmp_path: Path, by: str) -> None:
    request, answer = POST, WHOLE
    if by == "client":
        request = POST.replace(b"host: x\r\n", b"host: x\r\nConnection: close\r\n")
    elif by == "upstream":
        answer = WHOLE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    else:
        request = POST.replace(b"HTTP/1.1", b"HTTP/1.0")

    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(answer)
        assert await wire.hear_all() == b""

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(request)
            assert await client.hear_all() == answer
            assert told(lane) == [METERED]

    play(scene())


def test_an_upstream_connection_that_has_ended_is_found_at_the_next_request(tmp_path: Path) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(WHOLE)

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            for _ in range(3):
                client.say(POST)
                assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert told(lane) == [METERED] * 3
            assert len(lane.connections) == 3

    play(scene())


def test_a_request_that_may_have_been_sent_is_not_sent_again(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def part(wire: Wire) -> None:
        heard.append(await wire.hear_request())
        wire.say(WHOLE)
        heard.append(await wire.hear_request())

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(POST)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            client.say(POST)
            assert (await client.hear_all()).startswith(b"HTTP/1.1 502 ")
            assert told(lane) == [METERED, ("failed", None, None)]
            assert "never_sent" not in (lane.lines()[1].get("flags") or [])
        assert len(heard) == 2

    play(scene())


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x"])
def test_what_an_upstream_sends_unasked_reaches_nobody(tmp_path: Path, extra: bytes) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(WHOLE + extra)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            for _ in range(2):
                client.say(POST)
                assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert len(lane.connections) == 2

    play(scene())


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"X: a\r\n b\r\n",
        b"X : a\r\n",
        b"X: a\x00\r\n",
        b"X: a\nY: b\r\n",
    ],
)
def test_an_answer_whose_end_is_in_doubt_is_a_502(tmp_path: Path, head: bytes) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(JSON + head + b"\r\nab")) as lane:
            client = await lane.connect()
            client.say(POST)
            answer = await client.hear_all()
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "submeter"
            assert told(lane) == [("failed", None, None)]

    play(scene())


@pytest.mark.parametrize("chunk", [b"8000000000000000\r\n", b"5\r\nhelloX", b"5\nhello\r\n", b"THE-SECRET\r\n"])
def test_chunks_that_break_their_framing_are_a_break(
    tmp_path: Path, chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(CHUNKED + chunk)) as lane:
            client = await lane.connect()
            client.say(POST)
            assert not (await client.hear_all()).endswith(b"0\r\n\r\n")
            [line] = lane.lines()
            assert line["outcome"] == "failed"
            assert b"SECRET" not in lane.journal.read_bytes()

    with caplog.at_level(logging.DEBUG):
        play(scene())
    assert "SECRET" not in caplog.text


REFUSED = [
    (b"Content-Length: 1\r\nContent-Length: 1\r\n", b"400"),
    (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"400"),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"400"),
    (b"Content-Length: 99999999999999999999\r\n", b"400"),
    (b"X: a\r\n folded\r\n", b"400"),
    (b"X : a\r\n", b"400"),
    (b"X: a\x00b\r\n", b"400"),
    (b"X: a\nTransfer-Encoding: chunked\r\n", b"400"),
    (b"X: " + b"x" * 262_144 + b"\r\n", b"431"),
]


@pytest.mark.parametrize(("fields", "status"), REFUSED)
def test_a_request_whose_end_is_in_doubt_is_refused_is_a_row_and_goes_nowhere(
    tmp_path: Path, fields: bytes, status: bytes
) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            client = await lane.connect()
            client.say(CHAT + fields + b"\r\n" + POST)
            answer = await client.hear_all()
            assert answer.split(b" ")[1] == status
            assert answer.count(b"HTTP/1.1") == 1
            [line] = lane.lines()
            assert (line["outcome"], line["run_id"], line["flags"]) == ("refused", "r-1", ["never_sent"])
            assert lane.connections == []

    play(scene())


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\r\n\r\n", b"nonsense\r\n\r\n", b"GET /\r\n\r\n", b"\n\n"])
def test_what_is_no_request_at_all_is_no_row(tmp_path: Path, raw: bytes) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            client = await lane.connect()
            client.say(raw)
            assert (await client.hear_all()).startswith(b"HTTP/1.1 400 ")
            assert (lane.lines("start"), lane.connections) == ([], [])

    play(scene())


def test_a_request_that_breaks_its_chunks_is_cut_and_its_row_does_not_say_that_it_was_never_sent(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            client = await lane.connect()
            client.say(b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.say(b"2\r\n{}\r\n")
            while not lane.connections:
                await asyncio.sleep(0)
            await lane.connections[0].hear(b"{}\r\n")
            client.say(b"zz\r\n")
            assert (await client.hear_all()).startswith(b"HTTP/1.1 400 ")
            [line] = lane.lines()
            assert (line["outcome"], line.get("flags") or []) == ("aborted", [])

    play(scene())


def test_a_client_that_leaves_ends_the_upstream_s_work_at_once(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(CHUNKED, b"1\r\n{\r\n")
        assert await wire.hear_all() == b""
        ended.set()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(POST)
            await client.hear(b"{\r\n")
            client.writer.close()
            await ended.wait()
            assert told(lane) == [("aborted", 200, None)]

    play(scene())


def test_a_stalled_client_costs_a_bounded_memory_and_stalls_its_upstream(tmp_path: Path) -> None:
    total = 64 * 1024 * 1024
    piece = b"x" * 65_536
    sent = 0

    async def part(wire: Wire) -> None:
        nonlocal sent
        await wire.hear_request()
        wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // len(piece)):
            wire.say(piece)
            await wire.writer.drain()
            sent += len(piece)

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.say(GET)
            [near] = await _still(lane, lambda: sent)
            assert near._out.transport is not None
            assert near._out.transport.get_write_buffer_size() < 1024 * 1024
            assert sent < total // 2
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await client.hear()
            assert len(await client.hear_bytes(total)) == total

    play(scene())


def test_a_stalled_upstream_costs_a_bounded_memory_and_stalls_its_client(tmp_path: Path) -> None:
    total = 64 * 1024 * 1024
    go = asyncio.Event()

    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await wire.hear_bytes(total)) == total
        wire.say(WHOLE)
        await wire.hear_all()

    sent = 0

    async def scene() -> None:
        nonlocal sent
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % total)

            async def send() -> None:
                nonlocal sent
                for _ in range(total // 65_536):
                    client.say(b"x" * 65_536)
                    await client.writer.drain()
                    sent += 65_536

            sending = asyncio.ensure_future(send())
            [near] = await _still(lane, lambda: sent)
            assert near._far is not None
            assert near._far.transport is not None
            assert near._far.transport.get_write_buffer_size() < 1024 * 1024
            assert sent < total // 2
            go.set()
            await sending
            assert await client.hear_bytes(len(WHOLE)) == WHOLE

    play(scene())


async def _still(lane: Lane, count: Callable[[], int]) -> list[NearSide]:
    """The lane's connections once a count that has begun to rise rises no more."""
    before = 0
    while before == 0 or before != count():
        before = count()
        await asyncio.sleep(0.3)
    return [near for near in lane.server._open if isinstance(near, NearSide)]


def test_a_101_to_a_protocol_that_is_not_read_here_is_a_502(tmp_path: Path) -> None:
    switch = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"

    async def scene() -> None:
        async with lane_to(tmp_path, answering(switch)) as lane:
            client = await lane.connect()
            client.say(GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"))
            assert (await client.hear_all()).startswith(b"HTTP/1.1 502 ")
            assert told(lane) == [("failed", None, None)]

    play(scene())


def test_control_requests_and_calls_follow_one_another_on_a_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            client = await lane.connect()
            mark = b'{"run":"f/r-1","step":"1"}'
            control = b"POST /_submeter/step HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(mark)
            client.say(control + mark[:5])
            client.say(mark[5:] + POST + b"\r\nGET /_submeter/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await client.hear()).startswith(b"HTTP/1.1 200 ")
            assert b'"kind":"step"' in await client.hear(b"\n")
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            await client.hear()
            assert json.loads(await client.hear(b"\n")) == {"fine": True}
            assert told(lane) == [METERED]

    play(scene())


def test_a_connection_on_which_nothing_moves_is_ended_and_recorded(tmp_path: Path) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(CHUNKED)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part, silence_s_max=1) as lane:
            client = await lane.connect()
            client.say(POST)
            assert await client.hear_all() == CHUNKED
            assert told(lane) == [("failed", 200, None)]

    play(scene())


@pytest.mark.parametrize("trusted", [True, False])
def test_an_upstream_over_tls_is_asked_only_if_its_certificate_is_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    served, root = certified(tmp_path / "tls")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
    else:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE, WHOLE), tls=served) as lane:
            client = await lane.connect()
            client.say(POST)
            if trusted:
                for _ in range(2):
                    assert await client.hear_bytes(len(WHOLE)) == WHOLE
                    client.say(POST)
                assert told(lane) == [METERED] * 2
                assert len(lane.connections) == 1
            else:
                answer = await client.hear_all()
                assert answer.startswith(b"HTTP/1.1 502 ")
                assert b"Certificate verify failed" in answer
                [line] = lane.lines()
                assert (line["outcome"], line["flags"]) == ("failed", ["never_sent"])

    play(scene())


def test_a_client_that_asks_and_never_reads_costs_a_bounded_memory(tmp_path: Path) -> None:
    ask = b"GET /_submeter/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sent = 0

    async def scene() -> None:
        nonlocal sent
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            # What the system takes in between is not the lane's memory, and to fill its usual 6 MB takes a busy machine
            # half a minute. The lane's end of a connection has the sizes of its listener.
            for listener in lane.server.listeners:
                assert isinstance(listener, asyncio.Server)
                for each in listener.sockets:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            client = await lane.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            own = client.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)

            async def send() -> None:
                nonlocal sent
                while True:
                    client.say(ask * 100)
                    await client.writer.drain()
                    sent += 100 * len(ask)

            sending = asyncio.ensure_future(send())
            [near] = await _still(lane, lambda: sent)
            assert near._out.transport is not None
            assert near._out.transport.get_write_buffer_size() < 1024 * 1024
            assert len(near._in.data) < 1024 * 1024
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            before = sent
            await lane.until(lambda: sent > before)
            sending.cancel()

    play(scene())


def test_a_request_that_was_held_back_is_sent_on_a_new_connection_if_the_first_ended_meanwhile(tmp_path: Path) -> None:
    async def part(wire: Wire) -> None:
        if len(lane_connections) == 0:
            lane_connections.append(wire)
            return
        await wire.hear_request()
        wire.say(WHOLE)
        await wire.hear_all()

    lane_connections: list[Wire] = []

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(POST[:-1])
            await lane.until(lambda: bool(lane_connections) and lane_connections[0].writer.is_closing())
            await asyncio.sleep(0.05)
            client.say(POST[-1:])
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert told(lane) == [METERED]

    play(scene())


MUTE = b'{"model":"m","messages":[],"stream":true}'
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "broken",
    [
        BAD_REQUEST + b'Content-Length: 99\r\n\r\n{"error":',
        BAD_REQUEST + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"e\r\nzz\r\n',
    ],
    ids=["cut short", "misshapen"],
)
def test_a_refusal_that_breaks_while_it_is_held_is_a_502(tmp_path: Path, broken: bytes) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear_request()
        # Head and body in two, so that the head has been taken when the body breaks.
        cut = broken.index(b"\r\n\r\n") + 5
        wire.say(broken[:cut])
        await wire.writer.drain()
        wire.say(broken[cut:])

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(CHAT + b"Content-Length: %d\r\n\r\n" % len(MUTE) + MUTE)
            assert (await client.hear_all()).startswith(b"HTTP/1.1 502 ")
            [line] = lane.lines()
            assert line.get("input_tokens") is None

    play(scene())


def test_an_answer_without_a_body_to_a_stream_that_was_asked_passes_as_it_came(tmp_path: Path) -> None:
    nothing = b"HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream\r\n\r\n"

    async def scene() -> None:
        async with lane_to(tmp_path, answering(nothing, WHOLE)) as lane:
            client = await lane.connect()
            client.say(CHAT + b"Content-Length: %d\r\n\r\n" % len(MUTE) + MUTE)
            assert await client.hear() == nothing
            client.say(GET)
            assert await client.hear_bytes(len(WHOLE)) == WHOLE

    play(scene())


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b"data: {}"], ids=["whole", "without its blank line"])
@pytest.mark.parametrize("fails_at", [b"first", b"data: {}"])
def test_no_byte_is_lost_where_taking_out_the_usage_fails_at_any_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bytes, fails_at: bytes
) -> None:
    first, second = b'data: {"a":"first"}\n\n', b'data: {"a":"second"}\n\n'
    passed = asyncio.Event()

    def raises(event: bytes) -> bytes:
        if fails_at in event:
            raise RuntimeError
        return event

    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(CHUNKED.replace(b"application/json", b"text/event-stream"))
        wire.say(b"%x\r\n%b\r\n" % (len(first), first))
        await passed.wait()
        wire.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(second + last), second + last))
        await wire.hear_all()

    async def scene() -> None:
        monkeypatch.setattr("submeter.proxy.rewrite_stream._rewritten", raises)
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(CHAT + b"Content-Length: %d\r\n\r\n" % len(MUTE) + MUTE)
            await client.hear(first + b"\r\n")
            passed.set()
            heard = await client.hear(b"0\r\n\r\n")
            assert (heard.count(second), heard.count(last)) == (1, 1)

    play(scene())
