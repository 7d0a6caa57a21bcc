"""What is read of a WebSocket's compressed frames: whole messages, and what they expand to only up to a bound."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from submeter.proxy.socket_frames import INFLATED_BYTES_MAX, SocketFrames

CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9
MEBIBYTE = bytes(2**20)


def frame(opcode: int, payload: bytes, *, final: bool = True, compressed: bool = False) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 2**16 else b"\x7f" + size.to_bytes(8)
    return bytes([final << 7 | compressed << 6 | opcode]) + length + payload


def deflated(*pieces: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    raw = b"".join(map(deflater.compress, pieces)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return raw.removesuffix(b"\x00\x00\xff\xff")


def test_a_message_that_expands_past_the_ceiling_is_not_expanded_further_and_cannot_be_read() -> None:
    bomb = frame(BINARY, deflated(*[MEBIBYTE] * 200), compressed=True)
    assert len(bomb) < 2**18
    frames = SocketFrames("permessage-deflate")
    tracemalloc.start()
    try:
        assert frames.read(bomb, from_client=False) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frames.problem is not None
    assert peak < 2.5 * INFLATED_BYTES_MAX


def test_a_bomb_in_fragments_is_one_message() -> None:
    frames = SocketFrames("permessage-deflate")
    half = INFLATED_BYTES_MAX // 2 // len(MEBIBYTE)
    raw = deflated(*[MEBIBYTE] * (2 * half + 1))
    middle = len(raw) // 2
    assert frames.read(frame(BINARY, raw[:middle], final=False, compressed=True), from_client=False) == []
    assert frames.problem is None
    assert frames.read(frame(CONTINUATION, raw[middle:]), from_client=False) == []
    assert frames.problem is not None


def test_a_message_just_under_the_ceiling_is_read_and_so_is_the_next_one() -> None:
    frames = SocketFrames("permessage-deflate; server_no_context_takeover")
    large = frame(BINARY, deflated(*[MEBIBYTE] * (INFLATED_BYTES_MAX // len(MEBIBYTE))), compressed=True)
    assert list(map(len, frames.read(large + large, from_client=False))) == [INFLATED_BYTES_MAX] * 2
    assert frames.problem is None


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_ping_within_a_compressed_message_changes_nothing_of_it(cut: int) -> None:
    frames = SocketFrames("permessage-deflate")
    raw = deflated(b'{"type":"response.created"}')
    sent = frame(TEXT, raw[:cut], final=False, compressed=True) + frame(PING, b"?") + frame(CONTINUATION, raw[cut:])
    messages = [one for at in range(len(sent)) for one in frames.read(sent[at : at + 1], from_client=False)]
    assert messages == [b'{"type":"response.created"}']
    assert frames.problem is None


def test_messages_refer_to_earlier_ones_where_the_handshake_lets_them() -> None:
    deflater = zlib.compressobj(wbits=-10)
    raw = []
    for _ in range(2):
        one = deflater.compress(b"the same words, the same words") + deflater.flush(zlib.Z_SYNC_FLUSH)
        raw.append(frame(TEXT, one.removesuffix(b"\x00\x00\xff\xff"), compressed=True))
    kept = SocketFrames("permessage-deflate; server_max_window_bits=10; client_no_context_takeover")
    assert kept.read(b"".join(raw), from_client=False) == [b"the same words, the same words"] * 2
    fresh = SocketFrames("permessage-deflate; server_no_context_takeover")
    assert fresh.read(b"".join(raw), from_client=False) == [b"the same words, the same words"]
    assert fresh.problem is not None


@pytest.mark.parametrize("opcode", [CONTINUATION, PING])
def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(opcode: int) -> None:
    frames = SocketFrames("permessage-deflate")
    frames.read(frame(TEXT, b"", final=False, compressed=True), from_client=False)
    frames.read(frame(opcode, deflated(b"x"), compressed=True), from_client=False)
    assert frames.problem is not None
