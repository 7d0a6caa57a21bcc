"""What a request's body tells, read as it passes: model, stream and a few other members, from JSON or a form.

Audio and image uploads are multipart forms (docs/openai-usage.md G.15): their fields are read and their files passed
over.
Nothing of a prompt is kept: JSON up to 4 MiB waits in memory until `facts()` has read it, longer JSON is scanned.

Never here: prompts, file contents, anything that raises on what a client sent, and changes to the body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .decode import TOO_LARGE, DecodeError, Decoder
from .json_body import JsonBody
from .json_scan import Tree, Want


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class RequestFacts:
    """What a request asks for, as far as its body tells. None: it does not say, or could not be read."""

    model: str | None = None
    stream: bool | None = None
    stream_options_include_usage: bool | None = None
    """`stream_options.include_usage`; False too if said so."""
    stream_format: str | None = None
    """Of `audio/speech`: `sse` asks for events."""
    background: bool | None = None
    store: bool | None = None
    n: int | None = None
    """How many choices or images are asked for."""
    response_format: str | None = None
    """Its name, or the `type` inside it."""
    service_tier: str | None = None
    searches: bool = False
    """Whether a chat asks for a search of the web, by `web_search_options` or by its model (`gpt-5-search-api`)."""
    input_characters: int | None = None
    """Characters to be spoken: the length of `input` beside a `voice`."""
    body_bytes: int = 0
    """Bytes of the body after decoding, as far as that went."""
    unreadable: str | None = None
    """Why the body could not be read; None: it could, or there was none."""


_WANTED: Tree = {
    "model": Want.LEAF,
    "stream": Want.LEAF,
    "stream_options": {"include_usage": Want.LEAF},
    "stream_format": Want.LEAF,
    "background": Want.LEAF,
    "store": Want.LEAF,
    "n": Want.LEAF,
    "response_format": {"type": Want.LEAF},
    "service_tier": Want.LEAF,
    "web_search_options": Want.LEAF,
}
_SEARCH_MODEL = "-search-"
_FORM_FIELDS = frozenset({b"model", b"stream", b"stream_format", b"n", b"response_format"})
_FIELD_BYTES_MAX = 4096
_PART_HEAD_BYTES_MAX = 16 * 1024
_TEXT_CHARS_MAX = 512
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name="([^"]*)"|;\s*name=([^\s;"]+)', re.IGNORECASE)
_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


class RequestReader:
    """Takes one request's body in chunks."""

    def __init__(self, content_type: str | None, content_encoding: str | None) -> None:
        essence = "" if content_type is None else content_type.partition(";")[0].strip().lower()
        boundary = _BOUNDARY.search(content_type or "") if essence == "multipart/form-data" else None
        self._form = _Form((boundary[1] or boundary[2]).encode("utf-8", "surrogateescape")) if boundary else None
        # Clients leave the content type out or get it wrong, and the provider reads JSON all the same.
        self._json = JsonBody(_WANTED) if self._form is None and not essence.startswith("multipart/") else None
        self._bytes = 0
        self._undecodable: str | None = None
        self._decoder: Decoder | None = None
        if content_encoding:
            try:
                decoder = Decoder(content_encoding)
                self._decoder = None if decoder.identity else decoder
            except DecodeError as error:
                self._undecodable = error.why

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Never raises for what they hold."""
        if self._undecodable is not None:
            return
        if self._decoder is None:
            self._take(chunk)
        else:
            pieces, self._undecodable = self._decoder.read(chunk)
            for piece in pieces:
                self._take(piece)
            if self._undecodable == TOO_LARGE:
                self._form = self._json = None

    def facts(self) -> RequestFacts:
        """What the body told so far. Pure."""
        if self._form is not None:
            return self._form_facts(self._form.fields)
        if self._json is None or self._json.size == 0:
            return RequestFacts(body_bytes=self._bytes, unreadable=self._undecodable)
        document = self._json.document()
        members = document.members
        options = members.get("stream_options")
        shape = members.get("response_format")
        spoken = members.get("input") if "voice" in members else None
        unreadable = f"{document.problem}_json" if document.problem is not None else None
        model = _text(members.get("model"))
        return RequestFacts(
            model=model,
            searches=isinstance(members.get("web_search_options"), dict) or _SEARCH_MODEL in (model or ""),
            stream=_flag(members.get("stream")),
            stream_options_include_usage=_flag(options.get("include_usage")) if isinstance(options, dict) else None,
            stream_format=_text(members.get("stream_format")),
            background=_flag(members.get("background")),
            store=_flag(members.get("store")),
            n=_number(members.get("n")),
            response_format=_text(shape.get("type") if isinstance(shape, dict) else shape),
            service_tier=_text(members.get("service_tier")),
            input_characters=len(spoken) if isinstance(spoken, str) else None,
            body_bytes=self._bytes,
            unreadable=self._undecodable or unreadable,
        )

    def _take(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._form is not None:
            self._form.feed(data)
        elif self._json is not None:
            self._json.feed(data)

    def _form_facts(self, fields: dict[bytes, bytes]) -> RequestFacts:
        said = {name: value.decode("utf-8", "replace").strip() for name, value in fields.items()}
        stream = said.get(b"stream", "").lower()
        count = said.get(b"n", "")
        return RequestFacts(
            model=_text(said.get(b"model")),
            stream={"true": True, "1": True, "false": False, "0": False}.get(stream),
            stream_format=_text(said.get(b"stream_format")),
            n=int(count) if count.isascii() and count.isdigit() and len(count) < 10 else None,
            response_format=_text(said.get(b"response_format")),
            body_bytes=self._bytes,
            unreadable=self._undecodable,
        )


class _Form:
    """The wanted fields of a multipart form (RFC 7578, RFC 2046 section 5.1.1), its files passed over."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter needs no line end before it.
        self._buffer = b"\r\n"
        self._in_head = False
        self._name: bytes | None = None
        """The wanted field whose value is under way; None: what passes is not wanted."""
        self._value = b""
        self._ended = False
        self.fields: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> None:
        if self._ended:
            return
        self._buffer += data
        while not self._ended and (self._take_head() if self._in_head else self._take_value()):
            pass

    def _take_value(self) -> bool:
        """Pass over a value up to the delimiter; True if that was reached."""
        found = self._buffer.find(self._delimiter)
        if found < 0:
            kept = len(self._delimiter) - 1
            self._keep(self._buffer[:-kept])
            self._buffer = self._buffer[-kept:]
            return False
        self._keep(self._buffer[:found])
        if self._name is not None:
            self.fields[self._name] = self._value
        self._name, self._value = None, b""
        self._buffer = self._buffer[found + len(self._delimiter) :]
        self._in_head = True
        return True

    def _take_head(self) -> bool:
        """Read a part's header lines; True if they were all there."""
        if self._buffer.startswith(b"--"):
            self._ended = True
            self._buffer = b""
            return False
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._ended = len(self._buffer) > _PART_HEAD_BYTES_MAX
            return False
        head = self._buffer[:end]
        name = _NAME.search(head)
        field = (name[1] or name[2] or b"") if name else b""
        self._name = field if field in _FORM_FIELDS and not _FILE.search(head) else None
        self._buffer = self._buffer[end + 4 :]
        self._in_head = False
        return True

    def _keep(self, data: bytes) -> None:
        if self._name is None or not data:
            return
        self._value += data
        if len(self._value) > _FIELD_BYTES_MAX:
            self._name, self._value = None, b""


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1_000_000_000 else None


def _text(value: Any) -> str | None:
    """A short string that can be written down; None where the wire has something else."""
    if not isinstance(value, str):
        return None
    if value.isascii() and len(value) <= _TEXT_CHARS_MAX:
        return value
    return value[:_TEXT_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
