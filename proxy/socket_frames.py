"""The whole messages in a copy of a WebSocket's bytes, in both directions. Sans I/O; nothing it does reaches the wire.

    frames = SocketFrames("permessage-deflate")      # what the 101 says of extensions
    frames.read(data, from_client=True)              # messages that end in `data`, in order
    frames.closed                                    # who closed it first, and with which code; None: nobody yet
    frames.problem                                   # why nothing is read of it any more; None: it is read

wsproto reads the frames: fragments, masks and compression are undone on the copy. Never here: what a message means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""A longer message, after decompression, is an error: it would have to be held whole."""


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


class _Direction:
    def __init__(self, *, client: bool, extensions: str) -> None:
        self.close_code: int | None = None
        self._frames = FrameProtocol(client, [*_deflate(extensions)])
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


def _deflate(extensions: str) -> list[PerMessageDeflate]:
    """The extension that the 101 agreed on; `ValueError` for one that is not known here."""
    agreed = [one.strip() for one in extensions.split(",") if one.strip()]
    found: list[PerMessageDeflate] = []
    for one in agreed:
        if one.partition(";")[0].strip() != PerMessageDeflate.name or found:
            raise ValueError("an unknown extension")
        extension = PerMessageDeflate()
        extension.finalize(one.replace('"', ""))
        found.append(extension)
    return found
