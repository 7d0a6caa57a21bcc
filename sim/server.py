"""The pretend OpenAI on a loopback port: started in a thread of its own, stopped without a trace.

`with Sim(seed=1, now=clock) as sim:` gives `sim.url` and `sim.books`. Sockets and the event loop live here and in the
delivery; what is answered is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.routing import Router

from . import sockets
from .books import Books
from .deliver import Delivery, headers
from .faults import Fault, FaultPlan
from .service import Received, answer
from .settings import Settings
from .spoil import spoil
from .state import State

BODY_BYTES_MAX = 256 * 1024 * 1024
HEADER_BYTES_MAX = 1024 * 1024
RECEIVED_MAX = 100_000
BACKLOG = 1024
START_S_MAX = 10.0


@dataclass(kw_only=True)
class Sim(Settings):
    """The service, with every switch of `Settings` as an argument of its own."""

    port: int = 0
    """0: any free port."""
    ssl_context: ssl.SSLContext | None = None
    """Serve TLS with it."""
    faults: Sequence[Fault] = ()
    """In force from the beginning; `plan` takes more."""
    plan: FaultPlan = field(init=False, repr=False)
    """The faults in force."""
    state: State = field(init=False, repr=False)
    received: list[Received] = field(init=False, default_factory=list, repr=False)
    """Every request that arrived, in order, with headers and body as they came."""
    crashes: list[BaseException] = field(init=False, default_factory=list, repr=False)
    """What went wrong in the simulator itself; `stop` raises for the first."""

    def __post_init__(self) -> None:
        self.state = State(self)
        self.plan = FaultPlan(self.seed, self.faults)
        self._idle = threading.Condition()
        self._busy = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._problem: BaseException | None = None

    @property
    def books(self) -> Books:
        """What was really used."""
        return self.state.books

    @property
    def url(self) -> str:
        """Scheme, host and port, without `/v1`."""
        return f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` would be."""
        return f"{self.url}{self.prefix}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, in a thread; raises what binding raised."""
        self._started.clear()
        self._problem = None
        self._thread = threading.Thread(target=self._serve, name="submeter-sim", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S_MAX):
            raise TimeoutError("the simulator did not start")
        if self._problem is not None:
            self._thread.join()
            raise self._problem

    def stop(self) -> None:
        """Close every connection and the port, end the thread. Does nothing if it is not running."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None
        if self.crashes:
            raise RuntimeError("the simulator itself failed while answering") from self.crashes[0]

    def wait_idle(self, seconds: float = 10.0) -> bool:
        """Wait (wall clock) until no request is being answered: then the books say all there is to say."""
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, seconds)

    def busy(self, change: int) -> None:
        """Count the requests under way."""
        with self._idle:
            self._busy += change
            self._idle.notify_all()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        try:
            listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        except OSError as problem:
            self._problem = problem
            self._started.set()
            return
        front = _Front(self, tasks)
        server = HTTPServer(
            front,
            ssl_options=self.ssl_context,
            max_buffer_size=BODY_BYTES_MAX,
            max_body_size=BODY_BYTES_MAX,
            max_header_size=HEADER_BYTES_MAX,
        )
        listener.setblocking(False)
        server.add_socket(listener)
        self.port = listener.getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sockets.hang_up_all(front.sockets)
        await server.close_all_connections()


class _Front(Router):
    """Hands every request to an exchange of ours, upgrades to the sockets."""

    def __init__(self, sim: Sim, tasks: set[asyncio.Task[None]]) -> None:
        self._sim = sim
        self._tasks = tasks
        self.sockets = sockets.application(sim, tasks)

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self.sockets.find_handler(request)
        return _Exchange(self._sim, request, self._tasks)


class _Exchange(HTTPMessageDelegate):
    """One request and its answer."""

    def __init__(self, sim: Sim, request: HTTPServerRequest, tasks: set[asyncio.Task[None]]) -> None:
        self._sim = sim
        self._request = request
        self._tasks = tasks
        self._body: list[bytes] = []
        self._at = sim.state.now()

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        return None

    def data_received(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def finish(self) -> None:
        self._sim.busy(1)
        task = asyncio.get_running_loop().create_task(self._answer())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def on_connection_close(self) -> None:
        self._body.clear()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._sim.busy(-1)
        crash = None if task.cancelled() else task.exception()
        if crash is not None:
            # A bug of ours: the client is cut off rather than left waiting, and `stop` says so.
            self._sim.crashes.append(crash)
            connection = self._request.connection
            if isinstance(connection, HTTP1Connection) and not connection.stream.closed():
                connection.stream.close()

    async def _answer(self) -> None:
        sim, request = self._sim, self._request
        received = Received(
            method=str(request.method),
            target=str(request.uri),
            headers={name.lower(): value for name, value in request.headers.items()},
            raw=b"".join(self._body),
            at=self._at,
            request_id=sim.state.next_request_id(),
        )
        if len(sim.received) < RECEIVED_MAX:
            sim.received.append(received)
        faults = sim.plan.match(received.method, received.path, received.headers, received.raw)
        reply, key = answer(sim.state, received, faults)
        connection = request.connection
        assert isinstance(connection, HTTP1Connection)
        page = next((value for name, value in parse_qsl(received.target.partition("?")[2]) if name == "page"), None)
        reply, manner = spoil(reply, faults, page)
        if reply.entry is not None:
            sim.books.note(reply.entry, faults=manner.kinds)
        offered = received.headers.get("accept-encoding", "")
        head = headers(sim.state, reply, key, received.request_id, offered, reply.frames is not None)
        await Delivery(sim.state, connection, reply, manner, bodiless=received.method == "HEAD").run(head)
