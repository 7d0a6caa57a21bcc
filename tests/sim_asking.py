"""Asking the simulator without a socket: a request as bytes in, the answer's value out."""

from __future__ import annotations

import json
from typing import Any

from submeter.sim.client import multipart
from submeter.sim.frame import Answer, Json
from submeter.sim.service import Received, answer
from submeter.sim.settings import Settings
from submeter.sim.state import State

NOON = 1_795_348_800.0
SECRET = "sk-sim-0001"


def asked(
    state: State,
    method: str,
    target: str,
    raw: bytes,
    content_type: str = "application/json",
    *,
    secret: str = SECRET,
) -> Answer:
    """The answer to one request; what it bills is completed, as a delivery would."""
    headers = {"authorization": f"Bearer {secret}", "content-type": content_type}
    received = Received(
        method=method, target=target, headers=headers, raw=raw, at=state.now(), request_id=state.next_request_id()
    )
    reply, _ = answer(state, received)
    if reply.entry is not None:
        state.books.complete(reply.entry, state.now())
    return reply


class House:
    """A simulator without a server."""

    def __init__(self, **settings: Any) -> None:
        self.clock = [NOON]
        self.state = State(Settings(**{"now": lambda: self.clock[0], "silent_cached": 0.0, **settings}))

    def post(self, target: str, body: Json) -> Json:
        """What a POST is answered with; its status is 200."""
        reply = asked(self.state, "POST", target, json.dumps(body).encode())
        assert reply.status == 200, reply.body
        return reply.payload or {}

    def get(self, target: str) -> Json:
        """What a GET is answered with; its status is 200."""
        reply = asked(self.state, "GET", target, b"")
        assert reply.status == 200, reply.body
        return reply.payload or {}

    def delete(self, target: str) -> Json:
        """What a DELETE is answered with; its status is 200."""
        reply = asked(self.state, "DELETE", target, b"")
        assert reply.status == 200, reply.body
        return reply.payload or {}

    def events(self, target: str, body: Json) -> list[Json]:
        """The events of a stream, without its end mark."""
        reply = asked(self.state, "POST", target, json.dumps({**body, "stream": True}).encode())
        assert reply.frames is not None, reply.body
        return [frame.payload for frame in reply.frames if frame.payload is not None]

    def refused(self, target: str, body: Json | None = None, method: str = "POST") -> tuple[int, Json]:
        """Status and error of a request that is refused; nothing was opened in the books for it."""
        before = len(self.state.books)
        reply = asked(self.state, method, target, b"" if body is None else json.dumps(body).encode())
        assert reply.status >= 400, reply.body
        assert len(self.state.books) == before
        return reply.status, json.loads(reply.body)["error"]

    def upload(self, name: str, content: bytes, **fields: str) -> Json:
        """A file that was uploaded."""
        raw, content_type = multipart(fields, {"file": content}, filename=name)
        reply = asked(self.state, "POST", "/v1/files", raw, content_type)
        assert reply.status == 200, reply.body
        return reply.payload or {}
