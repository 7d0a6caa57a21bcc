"""Asking for a stream's usage in the client's stead: what becomes of one request and of its answer. Sans I/O.

    asking = Asking(attempt, path, head)    its body is held back until it is whole
    asking.ask(body, to_send)              what goes upstream instead, or None: it goes as it is
    asking.answered(status_code, headers)  the answer's head: its usage is hidden, it is held, or it passes
    asking.names_our_question(body)        a held refusal: whether the request is to be sent again as it came

Never here: sockets, and sending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from ..data.call import Flag
from .attempt import Attempt
from .decode import DecodeError, Decoder
from .head import Fields
from .labels import PathLabels, join_labels
from .message_head import RequestHead
from .rewrite_request import BODY_BYTES_MAX, ENDPOINTS, ask_for_usage
from .upstream import OwnRequest

REFUSED = frozenset({400, 422})
"""What servers answer to a member that they do not know: OpenAI 400, those built on FastAPI 422."""
_OURS_NAMED = (b"stream_options", b"include_usage")
_STREAM_TYPES = frozenset({"text/event-stream", "text/plain", "application/octet-stream", ""})


class Way(StrEnum):
    """How an answer goes on."""

    PASS = "pass"
    HIDE = "hide"
    """Through a `UsageHider`."""
    HOLD = "hold"
    """Not before it is whole and `names_our_question` was asked."""


class Asking:
    """One request whose stream may have to be asked for its usage."""

    def __init__(self, attempt: Attempt, path: PathLabels, head: RequestHead) -> None:
        """`path`, `head`: of the request as it came."""
        self.attempt = attempt
        self.request: OwnRequest | None = None
        """What is sent where our question is refused: the request as it came. None: not asked, or not kept."""
        self._path = path
        self._head = head

    def ask(self, body: bytes, to_send: Callable[[], Fields]) -> tuple[bytes, Fields] | None:
        """The body and headers to send instead; None: nothing is to be asked, or not with certainty.

        `to_send`: the headers that would go with the body as it is; called where they are needed.
        """
        if not is_mute(self.attempt):
            return None
        fields = to_send()
        encoding = b", ".join(value for name, value in fields if name.lower() == b"content-encoding")
        asking = ask_for_usage(body, encoding.decode("latin-1") or None)
        if asking is None:
            self.attempt.flags += (Flag.USAGE_NOT_ASKED,)
            return None
        self.attempt.usage_requested = True
        self.request = OwnRequest(
            method=self.attempt.start.method, target=join_labels(self._path), fields=self._head.fields, body=body
        )
        return asking, tuple(_asking_fields(fields, len(asking)))

    def answered(self, status_code: int, headers: Mapping[str, str]) -> Way:
        """How the answer with this head goes on. `headers`: lower-case names."""
        if self.request is None:
            return Way.PASS
        if status_code in REFUSED:
            return Way.HOLD
        self.request = None
        essence = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not 200 <= status_code < 300 or essence not in _STREAM_TYPES:
            return Way.PASS
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            self.attempt.flags += (Flag.USAGE_NOT_HIDDEN,)
            return Way.PASS
        return Way.HIDE

    def names_our_question(self, body: bytes, content_encoding: str | None) -> bool:
        """Whether a refusal is about what we put into the request."""
        try:
            plain = Decoder(content_encoding, decoded_bytes_max=BODY_BYTES_MAX).feed(body)
        except DecodeError:
            return False
        return any(name in plain for name in _OURS_NAMED)


def is_mute(attempt: Attempt) -> bool:
    """Whether a request, now whole, asks for a stream of completions that will not tell its usage."""
    facts = attempt.request_facts
    return (
        attempt.start.endpoint in ENDPOINTS
        and facts is not None
        and facts.stream is True
        and facts.stream_options_include_usage is not True
    )


def _asking_fields(fields: Fields, body_bytes: int) -> list[tuple[bytes, bytes]]:
    """The headers of a request that asks: its body is plain, and so must be the answer that we change."""
    asking: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lower = name.lower()
        if lower == b"content-length":
            asking.append((name, b"%d" % body_bytes))
        elif lower not in (b"content-encoding", b"accept-encoding"):
            asking.append((name, value))
    return [*asking, (b"Accept-Encoding", b"identity")]
