"""Raw HTTP/1.1 over sockets, for tests that compare bytes: a client that keeps what came, a server that obeys."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """One request as a server read it."""

    head: bytes
    body: bytes

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    def header(self, name: str) -> str | None:
        return find_header(self.head, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """One response as a client read it; `body` is without chunk framing, `whole` whether it ended as framed."""

    head: bytes
    body: bytes
    whole: bool

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def header(self, name: str) -> str | None:
        return find_header(self.head, name)


def find_header(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name.lower().encode():
            return value.strip().decode("latin-1")
    return None


def request_bytes(
    method: str, target: str, *, host: str = "127.0.0.1", headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(b"\r\n\r\n"))[:-4]


async def read_response(reader: asyncio.StreamReader, *, method: str = "GET") -> RawResponse:
    """Read one response to its framed end, or to where the connection broke."""
    head = await read_head(reader)
    status = int(head.split(b" ", 2)[1])
    if method == "HEAD" or status in (204, 304) or status < 200:
        return RawResponse(head=head, body=b"", whole=True)
    body = bytearray()
    if (find_header(head, "transfer-encoding") or "").lower() == "chunked":
        whole = await _read_chunked(reader, body)
    elif (length := find_header(head, "content-length")) is not None:
        whole = await _read_exactly(reader, body, int(length))
    else:
        body += await reader.read()
        whole = True
    return RawResponse(head=head, body=bytes(body), whole=whole)


async def _read_exactly(reader: asyncio.StreamReader, into: bytearray, count: int) -> bool:
    try:
        into += await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        into += error.partial
        return False
    return True


async def _read_chunked(reader: asyncio.StreamReader, into: bytearray) -> bool:
    try:
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                await reader.readuntil(b"\r\n")
                return True
            into += await reader.readexactly(size)
            await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False


def hang_up(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, whatever waits to be sent.

    One that is closed and still has to send outlives its loop, and is a ResourceWarning in some later test.
    """
    writer.transport.abort()


def exchange(port: int, raw: bytes, *, method: str = "POST") -> RawResponse:
    """Send one request on a connection of its own and read its response."""

    async def go() -> RawResponse:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
        writer.write(raw)
        try:
            return await asyncio.wait_for(read_response(reader, method=method), TIMEOUT_S)
        finally:
            hang_up(writer)

    return asyncio.run(go())


Answer = Callable[[RawRequest, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request on a connection; True where the connection may take another."""


@dataclass(slots=True)
class RawServer:
    """An upstream on loopback that does exactly what its `answer` does, in a thread of its own."""

    port: int
    requests: list[RawRequest] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(answer: Answer) -> Iterator[RawServer]:
    """Run a `RawServer` until the block is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(port=listener.getsockname()[1])
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    writers: set[asyncio.StreamWriter] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while True:
                head = await read_head(reader)
                body = bytearray()
                if (find_header(head, "transfer-encoding") or "").lower() == "chunked":
                    await _read_chunked(reader, body)
                else:
                    await _read_exactly(reader, body, int(find_header(head, "content-length") or 0))
                request = RawRequest(head=head, body=bytes(body))
                server.requests.append(request)
                if not await answer(request, reader, writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def serve() -> None:
        running = await asyncio.start_server(connection, sock=listener, limit=2**26)
        await ended.wait()
        running.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for writer in writers:
            hang_up(writer)
        await asyncio.sleep(0)

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, name="raw-server")
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(TIMEOUT_S)


def framed(status: int, headers: dict[str, str], body: bytes, *, cuts: list[int] | None = None) -> list[bytes]:
    """A response as pieces to write one by one: with Content-Length, or chunked at `cuts` where these are given."""
    lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {value}" for name, value in headers.items())]
    if cuts is None:
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n"
        return [head + body]
    pieces = ["\r\n".join([*lines, "Transfer-Encoding: chunked"]).encode() + b"\r\n\r\n"]
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(body)), len(body)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            pieces.append(b"%x\r\n%b\r\n" % (end - begin, body[begin:end]))
    pieces.append(b"0\r\n\r\n")
    return pieces
