"""The whole messages in a copy of a WebSocket's bytes, in both directions. Sans I/O; nothing it does reaches the wire.

    frames = SocketFrames("permessage-deflate")      # what the 101 says of extensions
    frames.read(data, from_client=True)              # messages that end in `data`, in order
    frames.closed                                    # who closed it first, and with which code; None: nobody yet
    frames.problem                                   # why nothing is read of it any more; None: it is read

wsproto reads the frames: fragments and masks are undone on the copy; compression is undone here, never past a ceiling.
Never here: what a message means.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""A longer message is an error: it would have to be held whole."""
INFLATED_BYTES_MAX = 64 * 1024 * 1024
"""A compressed message that expands to more is an error. Zeros are a thousandth of their size on the wire, so whoever
sends them pays next to nothing for what they cost here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Who said first that a socket is to be closed."""

    by_client: bool
    code: int


class SocketFrames:
    """Both directions of one WebSocket, from the end of its handshake."""

    def __init__(self, extensions: str) -> None:
        self.closed: Closed | None = None
        self.problem: str | None = None
        # A reader is on the other end of what it reads: what the client sends is read as a server would.
        try:
            self._directions = {by: _Direction(client=not by, extensions=extensions) for by in (True, False)}
        except ValueError as error:
            self.problem = str(error)

    def read(self, data: bytes, *, from_client: bool) -> list[bytes]:
        """The messages that end in `data`; after a problem none."""
        if self.problem is not None:
            return []
        direction, messages = self._directions[from_client], []
        try:
            for message in direction.read(data):
                messages.append(message)
        except Exception as error:
            # Its words could quote what passed.
            self.problem = type(error).__name__
        if self.closed is None and direction.close_code is not None:
            self.closed = Closed(by_client=from_client, code=direction.close_code)
        return messages


class _Inflate(Extension):
    """permessage-deflate (RFC 7692) for the reader of one direction; raises `ValueError` past `INFLATED_BYTES_MAX`."""

    name = "permessage-deflate"

    def __init__(self, *, keeps_context: bool) -> None:
        """`keeps_context`: whether a message may refer to the ones before it."""
        self._keeps_context = keeps_context
        self._inflater: zlib._Decompress | None = None
        self._compressed = False
        """Whether the message under way is; its first frame says so."""
        self._control = False
        """Whether the frame under way is a control frame, which may come within a message."""
        self._left = INFLATED_BYTES_MAX

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        """Nothing: a reader of a copy agrees on nothing."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        begins = not self._control and opcode is not Opcode.CONTINUATION
        if rsv.rsv1 and not begins:
            return CloseReason.PROTOCOL_ERROR
        if begins:
            self._compressed = rsv.rsv1
            self._left = INFLATED_BYTES_MAX
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes:
        return data if self._control or not self._compressed else self._inflate(bytes(data))

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | None:
        if self._control or not self._compressed or not fin:
            return None
        last = self._inflate(b"\x00\x00\xff\xff")
        if not self._keeps_context or (self._inflater is not None and self._inflater.eof):
            self._inflater = None
        return last

    def _inflate(self, data: bytes) -> bytes:
        if self._inflater is None:
            # The largest window reads what was made with any smaller one.
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        expanded = self._inflater.decompress(data, self._left + 1)
        self._left -= len(expanded)
        if self._left < 0:
            raise ValueError("a message expands to too much")
        return expanded


class _Direction:
    def __init__(self, *, client: bool, extensions: str) -> None:
        self.close_code: int | None = None
        self._frames = FrameProtocol(client, _deflate(extensions, by_client=not client))
        self._message = bytearray()

    def read(self, data: bytes) -> Iterator[bytes]:
        self._frames.receive_bytes(data)
        for frame in self._frames.received_frames():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                payload = frame.payload
                self._message += payload.encode() if isinstance(payload, str) else bytes(payload)  # type: ignore[arg-type]
                if len(self._message) > MESSAGE_BYTES_MAX:
                    raise ValueError("a message is too long")
                if frame.message_finished:
                    message, self._message = bytes(self._message), bytearray()
                    yield message
            elif frame.opcode is Opcode.CLOSE:
                code = frame.payload[0] if isinstance(frame.payload, tuple) else CloseReason.NO_STATUS_RCVD
                self.close_code = int(code)


def _deflate(extensions: str, *, by_client: bool) -> list[Extension]:
    """How to read the side that compresses by what the 101 agreed on; `ValueError` for what is not known here."""
    agreed = [one.strip() for one in extensions.split(",") if one.strip()]
    if not agreed:
        return []
    name, *parameters = [part.partition("=")[0].strip() for part in agreed[0].split(";")]
    if len(agreed) > 1 or name != _Inflate.name:
        raise ValueError("an unknown extension")
    side = "client" if by_client else "server"
    return [_Inflate(keeps_context=f"{side}_no_context_takeover" not in parameters)]
