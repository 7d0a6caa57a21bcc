"""An answer onto a connection: headers, body or stream, and what became of it in the books.

The entry is completed before the first byte that could tell the client that it is: nobody can read a result that is
not in the books. The only file, with the server, that knows tornado's connections.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.client import responses as reasons

import brotli
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.iostream import StreamClosedError

from .books import State as EntryState
from .frame import Answer, Part
from .manner import Manner
from .settings import AbortBilling, Key
from .state import State

RESET_GRACE_S = 0.02
NO_CONTENT = 204


class Delivery:
    """One answer on its way."""

    def __init__(
        self, state: State, connection: HTTP1Connection, answer: Answer, manner: Manner, *, bodiless: bool = False
    ) -> None:
        """`bodiless`: it answers a HEAD."""
        self.state = state
        self.connection = connection
        self.answer = answer
        self.manner = manner
        self.bodiless = bodiless
        self.left = asyncio.Event()
        """Set when the client closed the connection."""
        connection.set_close_callback(self.left.set)

    async def run(self, head: HTTPHeaders) -> None:
        """Send it all; a client that leaves ends it quietly, with a note in the books."""
        answer, manner = self.answer, self.manner
        try:
            await self._wait(self.state.settings.think_delay_s + manner.delay_s)
            if manner.close_before_headers:
                return await self._hang_up(reset=False)
            if answer.frames is None:
                await self._send_body(head)
            else:
                await self._send_frames(head)
        except StreamClosedError:
            self._abandoned(0.0)
        return None

    async def _send_body(self, head: HTTPHeaders) -> None:
        answer, manner = self.answer, self.manner
        start = ResponseStartLine("HTTP/1.1", answer.status, reasons.get(answer.status, "Unknown"))
        packed = _packer(head.get("Content-Encoding", ""))
        body = answer.body if packed is None or manner.packed else packed(answer.body, True)
        length = manner.huge_bytes or len(body)
        if answer.status != NO_CONTENT and not self.state.settings.json_chunked and not manner.chunked:
            head["Content-Length"] = str(length)
        self._complete()
        if self.bodiless:
            await self.connection.write_headers(start, head)
        elif manner.cut:
            await self.connection.write_headers(start, head, body[: max(1, len(body) // 2)])
            return await self._hang_up(reset=manner.reset)
        elif manner.huge_bytes:
            await self.connection.write_headers(start, head)
            for piece in _huge(body, manner.huge_bytes):
                await self.connection.write(piece)
        elif manner.one_byte_writes:
            await self.connection.write_headers(start, head)
            for byte in body:
                await self.connection.write(bytes((byte,)))
        else:
            await self.connection.write_headers(start, head, body)
        self.connection.finish()
        self._note(True)
        return None

    async def _send_frames(self, head: HTTPHeaders) -> None:
        answer, manner, settings = self.answer, self.manner, self.state.settings
        frames = answer.frames or ()
        packed = _packer(head.get("Content-Encoding", ""))
        start = ResponseStartLine("HTTP/1.1", answer.status, reasons.get(answer.status, "OK"))
        await self.connection.write_headers(start, head)
        for number, frame in enumerate(frames):
            if number == manner.stall_after:
                await self._wait(manner.stall_s)
            if manner.cut and number >= manner.cut_after:
                self._complete()
                return await self._hang_up(reset=manner.reset)
            if frame.part in (Part.USAGE, Part.TERMINAL, Part.DONE) or number == len(frames) - 1:
                self._complete()
            elif number and settings.chunk_delay_s:
                await self._wait(settings.chunk_delay_s)
            if self.left.is_set():
                return self._abandoned(number / len(frames))
            data = manner.framed(frame)
            data = data if packed is None else packed(data, number == len(frames) - 1)
            try:
                for at in range(0, len(data), 1 if manner.one_byte_writes else max(1, len(data))):
                    await self.connection.write(data[at : at + 1] if manner.one_byte_writes else data)
            except StreamClosedError:
                return self._abandoned(number / len(frames))
            # A turn of the loop between chunks: other clients are served, and a client that left is noticed.
            await asyncio.sleep(0)
        self.connection.finish()
        self._note(True)
        return None

    async def _wait(self, seconds: float) -> None:
        """Sleep, or wake early because the client left."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self.left.wait(), seconds)
            except TimeoutError:
                return
            raise StreamClosedError

    def _complete(self) -> None:
        if self.answer.entry is None:
            return
        if self.manner.unbilled:
            self.state.books.break_off(self.answer.entry, self.state.now(), EntryState.FAILED, billed=False)
        else:
            self.state.books.complete(self.answer.entry, self.state.now())

    def _abandoned(self, share: float) -> None:
        """The client left: what that costs is a switch; background work goes on without it."""
        if self.answer.entry is None:
            return
        books, how = self.state.books, self.state.settings.aborts
        if books.entries[self.answer.entry].background:
            books.complete(self.answer.entry, self.state.now())
        else:
            books.break_off(
                self.answer.entry,
                self.state.now(),
                EntryState.ABORTED,
                billed=how is not AbortBilling.NONE,
                share=share if how is AbortBilling.PARTIAL else 1.0,
            )
        self._note(False)

    async def _hang_up(self, *, reset: bool) -> None:
        """Close in the middle of things; with a reset instead of a clean end if so asked."""
        self._complete()
        self._note(False)
        stream = self.connection.stream
        if reset:
            # A reset throws away what the client has not read yet; leave it a moment to read what was sent.
            await asyncio.sleep(RESET_GRACE_S)
        if reset and not stream.closed():
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()

    def _note(self, delivered: bool) -> None:
        if self.answer.entry is not None:
            self.state.books.note(self.answer.entry, delivered=delivered)


def headers(state: State, answer: Answer, key: Key, request_id: str, offered: str, streams: bool) -> HTTPHeaders:
    """The headers of an answer, as the real service names them; none that this server would add by itself."""
    head = HTTPHeaders()
    head["Date"] = formatdate(state.now(), usegmt=True)
    if answer.content_type:
        head["Content-Type"] = answer.content_type
    head["Connection"] = "keep-alive"
    head["x-request-id"] = request_id
    head["openai-version"] = "2020-10-01"
    head["openai-processing-ms"] = str(37 + int(request_id[-3:], 16) % 900)
    if key.organization:
        head["openai-organization"] = key.organization
        head["openai-project"] = key.project_id
    how = state.settings.compression
    if how and how in offered and (streams or answer.content_type.startswith("application/json")):
        head["Content-Encoding"] = how
    for name, value in answer.headers:
        head[name] = value
    return head


def _packer(how: str) -> Callable[[bytes, bool], bytes] | None:
    """Compress piece by piece, each piece readable as soon as it arrives; True on the last."""
    if how == "gzip":
        gzip = zlib.compressobj(wbits=31)
        return lambda data, last: gzip.compress(data) + gzip.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
    if how == "br":
        coder = brotli.Compressor(quality=4)
        return lambda data, last: bytes(coder.process(data) + (coder.finish() if last else coder.flush()))
    return None


def _huge(body: bytes, size: int) -> Iterator[bytes]:
    """The body, an object, with one more string so long that it has this size; made a mebibyte at a time."""
    opening, closing = body[:-2] + b',"padding":"', b'"}\n'
    yield opening
    left = size - len(opening) - len(closing)
    while left > 0:
        piece = min(left, 1 << 20)
        yield b"x" * piece
        left -= piece
    yield closing
