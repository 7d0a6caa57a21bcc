"""The meter of one response: its bytes in, one `Reading` out. Sans I/O.

    meter = Meter(endpoint, status_code=200, content_type="text/event-stream", content_encoding=None)
    meter.feed(chunk)        # True once: this chunk holds the byte that completes the response by its content
    meter.finish()           # the whole body has been seen
    meter.reading()          # at any time; pure

The content type says how a body is read; the first bytes are asked only where it is absent or says nothing
(text/plain, octet-stream), or where they cannot be what it says: JSON never begins like an event, nor an event like
JSON. A compressed body is decoded on a copy, piece by piece. Audio, images and the like are opaque.

What the provider sends can make a reading `unreadable`; it cannot make the meter raise.

Never here: I/O, clocks, headers other than the three above, and the bytes that the client gets.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from ..data.call import Flag, Usage
from .answer import Answer
from .decode import TOO_LARGE, DecodeError, Decoder
from .endpoint import Endpoint
from .json_body import Document, JsonBody, journal_value, read_json, whole_object
from .json_scan import Problem
from .sse import DONE, Event, SseDecoder
from .usage import read_usage


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class Reading:
    """What one response said of itself. None: it did not say."""

    usage_counts: Usage = field(default_factory=Usage)
    usage: Any = None
    """The usage object verbatim: parsed, or an `orjson.Fragment` where parsing would round it."""
    tool_usage: Any = None
    """`tool_usage` of a Responses object, verbatim; not inside `usage` (docs/openai-usage.md A.3)."""
    response_model: str | None = None
    response_id: str | None = None
    response_status: str | None = None
    service_tier: str | None = None
    completed_at: int | None = None
    """Microseconds UTC, whole seconds: `completed_at`, else `created_at` or `created`."""
    batch_id: str | None = None
    minted: str | None = None
    """Fingerprint of the client secret that the answer mints."""
    streamed: bool = False
    """Whether the body was server-sent events."""
    complete: bool = False
    """Whether the content says that it is whole: a JSON document that ends, a terminal event, `[DONE]`."""
    error: str | None = None
    """Type, code and parameter of the provider's error, never its message: that may quote a prompt."""
    failed_inside: bool = False
    """An error was told inside a 200."""
    unreadable: str | None = None
    """Why the body could not be read, in a word or two; None: it could, or there was nothing to read in it."""
    flags: tuple[Flag, ...] = ()
    body_bytes_decoded: int = 0
    """Bytes read after decoding, as far as that went; 0 for an opaque body, which is not read."""

    @property
    def tells_usage(self) -> bool:
        """Whether `usage` is the work's own: a batch says zeros first, or a part (docs/openai-usage.md A.9)."""
        return self.usage is not None and (self.batch_id is None or self.response_status in _BATCH_ENDED)


_BATCH_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class _Kind(StrEnum):
    JSON = "json"
    SSE = "sse"
    OPAQUE = "opaque"
    NEUTRAL = "neutral"


_NEUTRAL_TYPES = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})
_BLANK = b" \t\r\n"
_EVENT_FIELDS = (b"event:", b"data:", b"id:", b"retry:", b":")
_EVENT_HEAD = re.compile(rb"(?:event|data|id|retry)?:")
_HEAD_BYTES_MAX = 4096


class Meter:
    """Reads one response's body as it passes."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        status_code: int,
        content_type: str | None,
        content_encoding: str | None,
        images_expected: int = 1,
    ) -> None:
        """`images_expected`: `n` of an images request; its stream is complete after so many images."""
        self._endpoint = endpoint
        self._status_code = status_code
        self._images_expected = images_expected
        self._declared = _declared_kind(content_type)
        self._kind: _Kind | None = _Kind.OPAQUE if self._declared is _Kind.OPAQUE else None
        """None: not yet decided, the first bytes are in `_head`."""
        self._head = b""
        self._body = JsonBody()
        self._events: SseDecoder | None = None
        """None: the body is no stream, or this is not yet known."""
        self._answer = self._fresh_answer()
        self._broken_events = 0
        self._bytes = 0
        self._finished = False
        self._undecodable: str | None = None
        self._decoder: Decoder | None = None
        if content_encoding:
            try:
                decoder = Decoder(content_encoding)
                self._decoder = None if decoder.identity else decoder
            except DecodeError as error:
                self._undecodable = error.why

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; True, once, if they hold the one that completes the response by its content."""
        if self._kind is _Kind.OPAQUE or self._undecodable is not None:
            return False
        if self._kind is _Kind.JSON and self._decoder is None:
            self._bytes += len(chunk)
            self._body.feed(chunk)
            return False
        before = self._answer.complete
        if self._decoder is None:
            self._take(chunk)
        else:
            pieces, self._undecodable = self._decoder.read(chunk)
            for piece in pieces:
                self._take(piece)
            if self._undecodable == TOO_LARGE and not self._answer.complete:
                # What it began with is neither parsed nor believed: what stands at its end might say another thing.
                self._body, self._answer = JsonBody(), self._fresh_answer()
                self._events, self._head = None, b""
        return self._answer.complete and not before

    def finish(self) -> None:
        """Say that the whole body has been seen. A second call does nothing."""
        if self._finished:
            return
        self._finished = True
        if self._kind is None and self._undecodable is None:
            self._begin(_sniff(self._declared, self._head, whole=True) or _Kind.OPAQUE)
        if self._events is not None:
            for event in self._events.finish():
                self._take_event(event)
        if self._decoder is not None and self._undecodable is None and self._kind is not _Kind.OPAQUE:
            try:
                self._decoder.close()
            except DecodeError as error:
                self._undecodable = error.why

    def reading(self) -> Reading:
        """What is known by now; the final word once `finish` was called or `feed` said True."""
        answer = self._answer
        unreadable: str | None = None
        if self._kind is _Kind.JSON:
            answer = self._fresh_answer()
            document = self._body.document()
            answer.take_body(document)
            unreadable = self._json_problem(document)
        elif self._broken_events and answer.usage is None:
            unreadable = "broken_event"
        if self._undecodable is not None and not answer.complete:
            unreadable = self._undecodable
        streamed = (self._kind or self._declared) is _Kind.SSE
        return reading_of(
            answer,
            streamed=streamed,
            no_terminal=self._finished and streamed and not answer.complete,
            unreadable=unreadable,
            body_bytes_decoded=0 if self._kind is _Kind.OPAQUE else self._bytes,
        )

    def _fresh_answer(self) -> Answer:
        return Answer(self._endpoint, status_code=self._status_code, images_expected=self._images_expected)

    def _json_problem(self, document: Document) -> str | None:
        """Why a JSON body could not be read. One that has not ended yet is not truncated, and no bytes are no JSON."""
        if document.problem is None or self._body.size == 0 or self._declared is _Kind.NEUTRAL:
            return None
        if document.problem is Problem.TRUNCATED and not self._finished:
            return None
        return f"{document.problem}_json"

    def _take(self, data: bytes) -> None:
        """Decoded bytes, in order."""
        self._bytes += len(data)
        if self._events is not None:
            self._take_stream(self._events, data)
        elif self._kind is _Kind.JSON:
            self._body.feed(data)
        elif self._kind is None:
            self._head += data
            kind = _sniff(self._declared, self._head, whole=len(self._head) > _HEAD_BYTES_MAX)
            if kind is not None:
                self._begin(kind)

    def _begin(self, kind: _Kind) -> None:
        """How the body is read is decided: read what was held back."""
        self._kind = kind
        head, self._head = self._head, b""
        if kind is _Kind.SSE:
            self._events = SseDecoder()
            self._take_stream(self._events, head)
        elif kind is _Kind.JSON:
            self._body.feed(head)

    def _take_stream(self, events: SseDecoder, data: bytes) -> None:
        whole = events.whole(data)
        if whole is not None:
            members = whole_object(whole)
            if members is None or not self._answer.knows(members):
                self._take_event(Event(b"", whole))
            return
        for event in events.feed(data):
            self._take_event(event)
        if not self._answer.complete:
            # A client that reads lines acts on a terminal event before its blank line has come.
            pending = events.pending()
            if pending is not None and self._would_complete(pending):
                events.drop_pending()
                self._take_event(pending)

    def _take_event(self, event: Event) -> None:
        data = event.data
        if isinstance(data, JsonBody):
            document = data.document()
        elif data.startswith(DONE):
            self._answer.complete = True
            return
        else:
            document = read_json(data)
        if document.problem is None:
            self._answer.take_event(event.name, document)
        elif isinstance(data, JsonBody) or data.strip():
            self._broken_events += 1

    def _would_complete(self, event: Event) -> bool:
        """Whether this event, should it end here, would complete the response."""
        if event.data == DONE:
            return True
        document = event.data.document() if isinstance(event.data, JsonBody) else read_json(event.data)
        if document.problem is not None:
            return False
        trial = self._fresh_answer()
        trial.images = self._answer.images
        trial.take_event(event.name, document)
        return trial.complete


@lru_cache(maxsize=64)
def _declared_kind(content_type: str | None) -> _Kind:
    """How a body of this content type is read."""
    essence = (content_type or "").partition(";")[0].strip().lower()
    if essence == "text/event-stream":
        return _Kind.SSE
    if essence.endswith(("/json", "+json")):
        return _Kind.JSON
    return _Kind.NEUTRAL if essence in _NEUTRAL_TYPES else _Kind.OPAQUE


def _sniff(declared: _Kind, head: bytes, *, whole: bool) -> _Kind | None:
    """How a body that begins with `head` is read; None: more of it is needed. `whole`: there will be no more."""
    if head.startswith((b"{", b"[")):
        return _Kind.JSON
    text = head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK)
    fallback = _Kind.OPAQUE if declared is _Kind.NEUTRAL else declared
    if not text or (len(head) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(head)):
        return fallback if whole else None
    if text[0] in b"{[":
        return _Kind.JSON
    if declared is _Kind.SSE or _EVENT_HEAD.match(text):
        return _Kind.SSE
    if not whole and any(name.startswith(text) for name in _EVENT_FIELDS):
        return None
    return fallback


def reading_of(
    answer: Answer, *, streamed: bool, no_terminal: bool, unreadable: str | None, body_bytes_decoded: int
) -> Reading:
    """The reading that an answer makes."""
    flags = dict(answer.flags)
    usage: Any = answer.usage
    if answer.usage is None:
        counts = Usage(images=answer.images)
    else:
        counts, odd = read_usage(answer.usage, images=answer.images, legacy=answer.legacy)
        flags.update(dict.fromkeys(odd))
        if answer.failed_inside and counts.input_tokens == 0 and not counts.output_tokens:
            flags[Flag.ZERO_AFTER_ERROR] = None
        if answer.usage_raw is not None:
            usage = journal_value(answer.usage_raw)
            if usage is None:
                flags[Flag.USAGE_MALFORMED] = None
    tool_usage: Any = answer.tool_usage
    if answer.tool_usage_raw is not None:
        tool_usage = journal_value(answer.tool_usage_raw)
    if streamed and answer.failed_inside:
        flags[Flag.ERROR_IN_STREAM] = None
    if no_terminal:
        flags[Flag.NO_TERMINAL] = None
    return Reading(
        usage_counts=counts,
        usage=usage,
        tool_usage=tool_usage,
        response_model=answer.model,
        response_id=answer.id,
        response_status=answer.status,
        service_tier=answer.service_tier,
        completed_at=answer.completed_at,
        batch_id=answer.batch_id,
        minted=answer.minted,
        streamed=streamed,
        complete=answer.complete,
        error=answer.error,
        failed_inside=answer.failed_inside,
        unreadable=unreadable,
        flags=tuple(flags),
        body_bytes_decoded=body_bytes_decoded,
    )
