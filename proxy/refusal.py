"""What submeter answers by itself: a status and a body, mostly JSON of the shape of OpenAI's own errors. Pure.

An SDK shows `error.message` of it as it would show the provider's. Never here: when something is refused, and
sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

LINGER_S = 30.0
"""A client that is refused while it sends its body may go on for so long; its bytes are read and dropped. A connection
that is closed with bytes unread is reset, and the reset takes the answer from the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response of our own; JSON, if nothing else is said."""

    status_code: int
    body: bytes
    content_type: str = "application/json"
    more: tuple[str, ...] = ()
    """Further lines of its head."""


def answer_json(status_code: int, value: Mapping[str, Any]) -> Answer:
    """This value as an answer."""
    return Answer(status_code=status_code, body=orjson.dumps(value) + b"\n")


def refusal(status_code: int, why: str) -> Answer:
    """A refusal with its reason in words."""
    message = why.encode("utf-8", "replace").decode()
    return answer_json(status_code, {"error": {"message": message, "type": "submeter"}})


def broken_call(status_code: int, says: str) -> Answer:
    """What a client is told where the request is none, or the upstream failed: `says` is why."""
    what = "the request was not passed on" if status_code < 500 else "the upstream gave no whole answer"
    return refusal(status_code, f"submeter: {what}: {says}.")


def on_the_wire(answer: Answer, *, method: str = "POST", closes: bool = True) -> bytes:
    """The answer as a response; `closes`: after which the connection takes no further request."""
    try:
        reason = HTTPStatus(answer.status_code).phrase
    except ValueError:
        reason = ""
    ending = "Connection: close\r\n" if closes else ""
    more = "".join(f"{line}\r\n" for line in answer.more)
    head = (
        f"HTTP/1.1 {answer.status_code} {reason}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n{more}{ending}\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else answer.body)
