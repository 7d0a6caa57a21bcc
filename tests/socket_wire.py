"""WebSockets on loopback for tests: a server that plays a part, and a client that plays another."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

PLAY_S_MAX = 20.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

Message = str | bytes


@dataclass(slots=True)
class Stage:
    """The server's end of one socket."""

    handler: WebSocketHandler
    heard: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)

    async def hear(self) -> Message | None:
        """The client's next message; None: it has gone."""
        return await asyncio.wait_for(self.heard.get(), PLAY_S_MAX)

    async def say(self, message: Message) -> None:
        await self.handler.write_message(message, binary=isinstance(message, bytes))

    def close(self, code: int, reason: str) -> None:
        self.handler.close(code, reason)

    def drop(self) -> None:
        """End the connection without a word."""
        self.handler.ws_connection.stream.close()  # type: ignore[union-attr]


Part = Callable[[Stage], Awaitable[None]]
Scene = Callable[[WebSocketClientConnection], Awaitable[None]]


@contextmanager
def playing(part: Part) -> Iterator[str]:
    """The URL of an upstream whose every socket is played by `part`, until the block is left."""
    loop = asyncio.new_event_loop()
    ended, started = asyncio.Event(), threading.Event()
    ports: list[int] = []

    class Handler(WebSocketHandler):
        def check_origin(self, origin: str) -> bool:
            return True

        def set_default_headers(self) -> None:
            self.set_header("x-request-id", "req_socket")

        async def open(self, *args: str, **kwargs: str) -> None:
            self.stage = Stage(self)
            self.task = asyncio.ensure_future(part(self.stage))

        def on_message(self, message: Message) -> None:
            self.stage.heard.put_nowait(message)

        def on_close(self) -> None:
            self.stage.heard.put_nowait(None)

    async def serve() -> None:
        server = HTTPServer(Application([(r"/.*", Handler)], websocket_max_message_size=MESSAGE_BYTES_MAX))
        server.listen(0, "127.0.0.1")
        ports.extend(one.getsockname()[1] for one in server._sockets.values())
        started.set()
        await ended.wait()
        server.stop()
        await server.close_all_connections()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, name="socket-stage")
    thread.start()
    assert started.wait(PLAY_S_MAX)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PLAY_S_MAX)


def visit(
    url: str,
    scene: Scene,
    *,
    headers: Mapping[str, str] | None = None,
    trusted: ssl.SSLContext | None = None,
    compressed: bool = False,
) -> None:
    """Play `scene` on a socket connected to `url`, which begins with http or https."""

    async def run() -> None:
        request = HTTPRequest("ws" + url.removeprefix("http"), headers=dict(headers or {}), ssl_options=trusted)
        options: dict[str, Any] = {"compression_options": {}} if compressed else {}
        socket = await websocket_connect(request, max_message_size=MESSAGE_BYTES_MAX, **options)
        assert socket.protocol is not None
        stream = socket.protocol.stream
        try:
            await asyncio.wait_for(scene(socket), PLAY_S_MAX)
        finally:
            socket.close()
            # A closing handshake waits for the other side, and this loop ends before it is done.
            await asyncio.sleep(0)
            if stream is not None:
                stream.close()

    asyncio.run(run())
