"""A server that gives the replies it was told, and the client of the audit against it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from audit_world import BEGIN_S

from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi
from submeter.data.clock import US_PER_S, FixedClock

SECRET = "sk-admin-very-secret"


@dataclass(kw_only=True)
class Reply:
    status: int = 200
    body: bytes = b'{"object":"page","data":[],"has_more":false,"next_page":null}'
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False
    """Break the connection instead of answering."""
    half: bool = False
    """Break it in the middle of the body."""
    drops_s: float = 0.0
    """Wall-clock seconds before each byte of the body."""


class Server(ThreadingHTTPServer):
    """Answers each request with the next reply; the last one again and again."""

    daemon_threads = True

    def __init__(self, replies: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.late = threading.Event()
        """Set when nobody waits for a slow answer any more."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def queries(self) -> list[list[tuple[str, str]]]:
        return [parse_qsl(urlsplit(target).query) for target, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers.items())))
        place = min(len(self.server.asked), len(self.server.replies)) - 1
        reply = self.server.replies[place]
        if reply.close:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.half:
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.close_connection = True
            return
        if not reply.drops_s:
            self.wfile.write(reply.body)
            return
        for byte in reply.body:
            if self.server.late.wait(reply.drops_s):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def replying(
    *replies: Reply, timeout_s: float = 5.0, page_s_max: float = 60.0, now_s: int = BEGIN_S
) -> Iterator[tuple[Server, FixedClock, UsageApi]]:
    """The server, a clock that stands still, and a client that asks the one by the other."""
    server = Server(list(replies))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    clock = FixedClock(now_s * US_PER_S)
    settings = AuditSettings(usage_api_url=server.url, admin_key=SECRET)
    try:
        with UsageApi(settings, clock=clock, timeout_s=timeout_s, page_s_max=page_s_max) as client:
            yield server, clock, client
    finally:
        server.late.set()
        server.shutdown()
        thread.join()
        server.server_close()
