"""What the messages of one WebSocket make happen: a call begins, ends, or tells its usage once more.

Never here: how a message is read (`socket_meter`), and what is written of it (`socket_calls`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .meter import Reading


class Work(StrEnum):
    """What a call on a socket is."""

    RESPONSE = "response"
    TRANSCRIPTION = "transcription"
    """Of what the session heard, by a model of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A call began with this message."""

    number: int
    """0, 1, 2 ... on this socket."""
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A call ended with this message, or was given up. Sizes are bytes of messages."""

    number: int
    reading: Reading
    request_model: str | None
    """Of the client's `response.create`, else of the connect URL; None: neither said."""
    first_byte_at: int | None
    """When the server's first message of this call came, in the caller's time; None: none came."""
    request_bytes: int
    response_bytes: int
    status_code: int | None
    """Status that an error message told; None: no error, or it told none."""
    refused: bool
    """The create was answered by an error, of a kind that costs nothing, instead of by a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAgain:
    """A response that had ended told its usage in another terminal event: as over HTTP, the last one said stands."""

    number: int
    reading: Reading


Happening: TypeAlias = Begun | Ended | ToldAgain
