"""Requests that submeter itself makes on behalf of a call: with `audit/usage_api.py` the only place that knows httpx.

`send_again` repeats a request through our own listener, so that the repetition is a call like any other: metered,
labelled, with a row of its own. A private header that never leaves this process tells the lane that it is ours.

Never here: deciding that something is to be sent, retries, and anything kept after the answer is there.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from .head import Fields

logger = logging.getLogger("submeter.proxy")

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A repetition's answer is held whole; a longer one is given up, and the client gets its first answer."""
_FRAMING = frozenset({b"connection", b"content-length", b"expect", b"keep-alive", b"te", b"transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRequest:
    """A request as its client sent it."""

    method: str
    target: bytes
    """Path and query as they came, labels included."""
    fields: Fields
    body: bytes
    """As it came, compressed if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAnswer:
    """An answer, held whole."""

    status_code: int
    reason: bytes
    fields: Fields
    """Without those that frame it."""
    body: bytes
    """As it came, compressed if it was."""

    def on_the_wire(self) -> bytes:
        """The answer as a response with its length."""
        lines = [b"HTTP/1.1 %d %b" % (self.status_code, self.reason)]
        lines += [name + b": " + value for name, value in self.fields]
        lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


@asynccontextmanager
async def _sent(client: httpx.AsyncClient, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    answer = await client.send(request, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()


async def send_again(listener: str, request: OwnRequest, *, secret: tuple[bytes, bytes]) -> OwnAnswer | None:
    """The answer to `request` through the listener at this URL; None: there was no whole one.

    `secret`: the header that marks the request as ours.
    """
    kept = [(name, value) for name, value in request.fields if name.lower() not in _FRAMING]
    # No time limit of ours: whoever gives up first, client or provider, ends this too.
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=None) as client:
        own = httpx.Request(
            request.method,
            listener,
            headers=[*kept, secret],
            content=request.body,
            extensions={"target": request.target},
        )
        try:
            async with _sent(client, own) as answer:
                body = bytearray()
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        return None
        except httpx.HTTPError as error:
            logger.warning("sending a request again did not work (%s)", type(error).__name__)
            return None
    return OwnAnswer(
        status_code=answer.status_code,
        reason=answer.extensions.get("reason_phrase", b""),
        fields=tuple((name, value) for name, value in answer.headers.raw if name.lower() not in _FRAMING),
        body=bytes(body),
    )
