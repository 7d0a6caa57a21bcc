"""WebSockets in the lane: every byte as it came in both directions, and a line before a message's last byte."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from lane_play import Wire, lane_to, play

from submeter.proxy.socket_frames import Closed, SocketFrames

HANDSHAKE = (
    b"GET /run/r-1/v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
CREATE = json.dumps({"type": "response.create", "model": "gpt-4o-mini", "input": "x"}).encode()
CREATED = json.dumps({"type": "response.created", "response": {"id": "resp_1"}}).encode()
DONE = json.dumps(
    {
        "type": "response.completed",
        "response": {
            "id": "resp_1",
            "status": "completed",
            "model": "gpt-4o-mini",
            "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        },
    }
).encode()
TEXT, BINARY, CONTINUATION, CLOSE, PING = 1, 2, 0, 8, 9


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, mask: bytes | None = None) -> bytes:
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    masked = 0x80 if mask else 0
    size = len(payload)
    head = bytes([first, masked | size]) if size < 126 else bytes([first, masked | 126]) + size.to_bytes(2, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def from_client(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    return frame(opcode, payload, fin=fin, rsv1=rsv1, mask=b"\x01\x02\x03\x04")


def deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


PLAIN = (
    from_client(TEXT, CREATE[:20], fin=False) + from_client(PING, b"p") + from_client(CONTINUATION, CREATE[20:]),
    frame(TEXT, CREATED) + frame(PING, b"") + frame(TEXT, DONE[:9], fin=False) + frame(CONTINUATION, DONE[9:]),
    b"",
)
PACKED = (
    from_client(TEXT, deflated(CREATE), rsv1=True),
    frame(TEXT, CREATED) + frame(TEXT, deflated(DONE), rsv1=True),
    b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n",
)


@pytest.mark.parametrize(("asked", "said", "extensions"), [PLAIN, PACKED])
def test_frames_pass_byte_for_byte_and_a_call_is_written_before_its_last_byte_goes_on(
    tmp_path: Path, asked: bytes, said: bytes, extensions: bytes
) -> None:
    heard: list[bytes] = []
    # The upstream speaks before the client does, in the same bytes as its 101.
    switch = SWITCH + extensions + b"\r\n" + frame(TEXT, b'{"type":"session.created"}')

    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.say(switch)
        heard.append(await wire.hear_bytes(len(asked)))
        for at in range(len(said)):
            wire.say(said[at : at + 1])
            await wire.writer.drain()
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            # Nor does it wait for the answer to its handshake.
            client.say(HANDSHAKE, asked)
            assert await client.hear_bytes(len(switch)) == switch
            assert await client.hear_bytes(len(said) - 1) == said[:-1]
            assert await client.hear_bytes(1) == said[-1:]
            handshake, call = lane.lines()
            assert (handshake["method"], handshake["status_code"]) == ("GET", 101)
            assert (call["method"], call["outcome"], call["input_tokens"], call["run_id"]) == (
                "WS",
                "metered",
                3,
                "r-1",
            )
        assert heard == [asked]

    play(scene())


@pytest.mark.parametrize("by", ["client", "upstream", "client without a word", "upstream without a word"])
def test_a_socket_s_end_reaches_the_other_side_and_settles_what_was_open(tmp_path: Path, by: str) -> None:
    close = frame(CLOSE, (1001).to_bytes(2, "big"), mask=b"abcd" if by == "client" else None)

    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.say(SWITCH + b"\r\n")
        await wire.hear_bytes(len(from_client(TEXT, CREATE)))
        wire.say(frame(TEXT, CREATED))
        if by == "upstream":
            wire.say(close)
        if by.startswith("upstream"):
            return
        assert await wire.hear_all() == (close if by == "client" else b"")

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(HANDSHAKE, from_client(TEXT, CREATE))
            await client.hear()
            assert await client.hear_bytes(len(frame(TEXT, CREATED))) == frame(TEXT, CREATED)
            if by.startswith("client"):
                if by == "client":
                    client.say(close)
                client.writer.close()
                await lane.until(lambda: len(lane.lines()) == 2)
            else:
                assert await client.hear_all() == (close if by == "upstream" else b"")
            call = lane.lines()[1]
            code = 1006 if "without" in by else 1001
            assert call["outcome"] == ("aborted" if by.startswith("client") else "failed")
            assert call["error"] == f"the socket closed with code {code}"

    play(scene())


@pytest.mark.parametrize(
    ("said", "extensions"),
    [
        (b"\xff" * 40, b""),
        (frame(TEXT, b"\xff\xfe"), b""),
        (from_client(TEXT, b"masked by a server"), b""),
        (frame(TEXT, b"x", rsv1=True), b""),
        (frame(TEXT, b"x"), b"Sec-WebSocket-Extensions: x-unknown\r\n"),
    ],
)
def test_what_cannot_be_read_passes_all_the_same_and_is_a_gap(tmp_path: Path, said: bytes, extensions: bytes) -> None:
    async def part(wire: Wire) -> None:
        await wire.hear()
        wire.say(SWITCH + extensions + b"\r\n", said, frame(TEXT, DONE))
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(HANDSHAKE)
            await client.hear()
            raw = said + frame(TEXT, DONE)
            assert await client.hear_bytes(len(raw)) == raw
            assert len(lane.lines("gap")) == 1

    play(scene())


def test_messages_before_the_one_that_cannot_be_read_are_read() -> None:
    frames = SocketFrames("")
    assert frames.read(frame(TEXT, b"good") + b"\xff\xff" + frame(TEXT, b"lost"), from_client=False) == [b"good"]
    assert frames.problem is not None
    assert frames.read(from_client(TEXT, b"lost too"), from_client=True) == []


def test_who_closes_first_is_who_closed_it() -> None:
    frames = SocketFrames("")
    assert frames.read(from_client(CLOSE, b""), from_client=True) == []
    frames.read(frame(CLOSE, (1000).to_bytes(2, "big")), from_client=False)
    assert frames.closed == Closed(by_client=True, code=1005)
