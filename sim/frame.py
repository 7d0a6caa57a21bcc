"""What an endpoint answers, before it is bytes: a body or the frames of a stream, and which entry it belongs to.

Faults are applied to these values; only the server turns them into bytes on a connection. No counts are decided
here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from .settings import Key

Json = dict[str, Any]
"""A JSON object on its way to or from the wire."""

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"


class Part(StrEnum):
    """What a frame of a stream is for; faults aim by it."""

    CONTENT = "content"
    USAGE = "usage"
    """The extra chunk that carries nothing but usage."""
    TERMINAL = "terminal"
    """The last event of the object: `response.completed`, `transcript.text.done` ..."""
    DONE = "done"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event of an SSE stream."""

    part: Part
    payload: Json | None
    """None: `text` goes as it is."""
    text: str = ""
    event: str | None = None
    """The `event:` line; None: there is none."""

    def encode(self, line_end: str = "\n") -> bytes:
        """The event's bytes, blank line included."""
        data = self.text if self.payload is None else compact(self.payload)
        head = "" if self.event is None else f"event: {self.event}{line_end}"
        return f"{head}data: {data}{line_end}{line_end}".encode(errors="backslashreplace")


DONE = Frame(part=Part.DONE, payload=None, text="[DONE]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file of a form."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, read."""

    method: str
    target: str
    """The path as received, with its query."""
    path: str
    """The path without prefix and query."""
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    """Lower-cased names; the last of a repeated one."""
    body: Json
    """The JSON object or the form's fields."""
    raw: bytes
    at: float
    """When its headers were complete, by the given clock."""
    request_id: str
    key: Key
    rng: Random
    """Chance that depends on the seed, the request and how often it came before."""
    echo: int = 0
    """How often this very request came before."""
    files: Mapping[str, Upload] = field(default_factory=dict)
    """The files of a form by field; of several in one field all bytes, and the last name."""
    any_model: bool = False
    """Whether any name is taken for a model's."""
    batch: bool = False
    """Whether it is a line of a batch."""

    @property
    def streamed(self) -> bool:
        """Whether the client asked for a stream (forms say it in words)."""
        return self.body.get("stream") in (True, "true", "True", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response, not yet bytes."""

    status: int = 200
    content_type: str = JSON_TYPE
    body: bytes = b""
    payload: Json | None = None
    """The object that `body` is made of; a fault may change it and make the body anew."""
    frames: tuple[Frame, ...] | None = None
    """The stream, instead of a body."""
    headers: tuple[tuple[str, str], ...] = ()
    entry: int | None = None
    """The entry to be completed when this goes out; None: nothing is billed by it."""


# A lone surrogate of a request that is repeated in its answer becomes the escape that it came as.
def compact(value: Any) -> str:
    """JSON as streams carry it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pretty(value: Any) -> bytes:
    """JSON as bodies carry it: two blanks of indent and a line end, as recorded of the real service."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode(errors="backslashreplace")


def of_json(payload: Json, *, entry: int | None = None, status: int = 200) -> Answer:
    """An answer with a JSON body."""
    return Answer(status=status, payload=payload, body=pretty(payload), entry=entry)


def of_frames(frames: Sequence[Frame], *, entry: int | None = None) -> Answer:
    """An answer with a stream."""
    return Answer(content_type=SSE_TYPE, frames=tuple(frames), entry=entry)


class Refusal(Exception):  # noqa: N818 - the service refuses; nothing went wrong in it
    """The service says no: one error body, the same everywhere in the API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}

    def answer(self) -> Answer:
        """The error body."""
        return of_json({"error": self.error}, status=self.status)
