"""One JSON document of a response or request, fed in chunks: the few members that the meter wants of it.

Up to 4 MiB are kept and read by orjson in one go. What is longer, and what orjson refuses or would round (escapes of
lone surrogates, invalid UTF-8, NaN, a float or an integer over 64 bits inside a usage), goes through `JsonScanner`.
Both ways give the same answer, and hypothesis holds them to it.

Never here: what the members mean, compression, and a document of more than 4 MiB in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from .json_scan import JsonScanner, Path, Problem, Scan, Tree, Want, parse_captured

BUFFER_BYTES_MAX = 4 * 1024 * 1024
"""Longer documents are scanned as they pass; a chat answer has some KB, an image in base64 some MB."""

_NEWLINES = b"\r\n"

_RESPONSE: dict[str, Want | Tree] = {
    "usage": Want.LEAF,
    "tool_usage": Want.LEAF,
    "id": Want.LEAF,
    "object": Want.LEAF,
    "type": Want.LEAF,
    "model": Want.LEAF,
    "status": Want.LEAF,
    "service_tier": Want.LEAF,
    "background": Want.LEAF,
    "created": Want.LEAF,
    "created_at": Want.LEAF,
    "completed_at": Want.LEAF,
    "error": Want.LEAF,
    "code": Want.LEAF,
    "param": Want.LEAF,
    "value": Want.LEAF,
    "client_secret": Want.LEAF,
    "data": Want.COUNT,
    "output": {"*": {"type": Want.LEAF}},
}
RESPONSE_MEMBERS: Tree = {**_RESPONSE, "response": _RESPONSE, "item": {"type": Want.LEAF}}
"""What the meter wants of an answer, or of one event of a stream, where the answer may stand under `response`."""

EVENT_MEMBERS: Tree = {
    **RESPONSE_MEMBERS,
    "response": {**_RESPONSE, "status_details": {"error": Want.LEAF}},
    "generate": Want.LEAF,
    "stream_id": Want.LEAF,
    "event_id": Want.LEAF,
    "item_id": Want.LEAF,
    "session": {
        "model": Want.LEAF,
        "audio": {"input": {"transcription": {"model": Want.LEAF}}},
        "input_audio_transcription": {"model": Want.LEAF},
    },
}
"""What the meter wants of a WebSocket's message, of either side."""

_EXACT = (("usage",), ("tool_usage",), ("response", "usage"), ("response", "tool_usage"))
"""Values that have to survive to the last digit."""


class Document(NamedTuple):
    """A document as far as it was read."""

    members: Mapping[str, Any]
    """Wanted members, parsed (others may be here too); empty where the document is no object."""
    raw: Mapping[Path, bytes]
    """Raw bytes of the wanted values, where the document was scanned; a value not in here is exact as parsed."""
    data_items: int | None
    """Elements of a top-level array `data`; None: there is none."""
    problem: Problem | None
    """Why the document is not whole; what `members` holds then is what came before."""
    oversize: frozenset[Path]
    """Wanted values longer than 64 KiB: not kept."""
    invalid_utf8: bool


_NOT_AN_OBJECT = Document({}, {}, None, None, frozenset(), False)
_NONE_OVERSIZE: frozenset[Path] = frozenset()
_NO_RAW: Mapping[Path, bytes] = {}


def whole_object(data: bytes) -> Mapping[str, Any] | None:
    """The members of the object that `data` is; None: it is no such thing. `read_json` tells more, and costs more."""
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return members if type(members) is dict else None


def read_json(data: bytes, wanted: Tree = RESPONSE_MEMBERS) -> Document:
    """The document that `data` is, or begins with."""
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _scanned(data, wanted)
    if type(members) is not dict:
        return _NOT_AN_OBJECT
    if "usage" in wanted and _would_round(members):
        return _scanned(data, wanted)
    items = members.get("data")
    return Document(members, _NO_RAW, len(items) if type(items) is list else None, None, _NONE_OVERSIZE, False)


class JsonBody:
    """A document fed in chunks; `document()` reads what is there, at the end or before."""

    def __init__(self, wanted: Tree = RESPONSE_MEMBERS, *, buffer_bytes_max: int = BUFFER_BYTES_MAX) -> None:
        self._wanted = wanted
        self._buffer_bytes_max = buffer_bytes_max
        self._parts: list[bytes] = []
        self._scanner: JsonScanner | None = None
        self.size = 0
        """Bytes fed so far."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Never raises for what they hold."""
        self.size += len(data)
        if self._scanner is not None:
            self._scanner.feed(data)
            return
        self._parts.append(data)
        if self.size > self._buffer_bytes_max:
            self._scanner = JsonScanner(self._wanted)
            for part in self._parts:
                self._scanner.feed(part)
            self._parts.clear()

    def document(self) -> Document:
        """What the bytes so far say. Pure: more may be fed after it."""
        if self._scanner is not None:
            return _from_scan(self._scanner.scan())
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return read_json(self._parts[0] if self._parts else b"", self._wanted)


def journal_value(raw: bytes) -> orjson.Fragment | None:
    """Captured bytes as they may stand in a journal line; None where no strict reader would read them back."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    # Outside strings a newline is blank space, and inside them it cannot stand; a journal line must not have any.
    return orjson.Fragment(raw.translate(None, _NEWLINES))


def _would_round(members: Mapping[str, Any]) -> bool:
    """Whether a value that must stay exact holds a float, which may be a rounded integer too."""
    response = members.get("response")
    for holder in (members, response) if type(response) is dict else (members,):
        for name in ("usage", "tool_usage"):
            value = holder.get(name)
            if value is not None and _holds_float(value):
                return True
    return False


def _holds_float(value: object) -> bool:
    """Whether a float is the value or inside it. Level by level: a provider's nesting must not use up our stack."""
    if type(value) is float:
        return True
    level = [value]
    while level:
        below: list[object] = []
        for container in level:
            for inner in _items(container):
                kind = type(inner)
                if kind is float:
                    return True
                if kind is dict or kind is list:
                    below.append(inner)
        level = below
    return False


def is_shallow(value: object, depth_max: int) -> bool:
    """Whether containers are nested no deeper than `depth_max`."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level and depth <= depth_max:
        depth += 1
        level = [inner for one in level for inner in _items(one) if type(inner) is dict or type(inner) is list]
    return depth <= depth_max


def _items(value: object) -> Iterable[object]:
    """What is directly inside a container; nothing is inside anything else."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _scanned(data: bytes, wanted: Tree) -> Document:
    scanner = JsonScanner(wanted)
    scanner.feed(data)
    return _from_scan(scanner.scan())


def _from_scan(scan: Scan) -> Document:
    """The wanted members in the shape that parsing the whole document would have given them."""
    members: dict[str, Any] = {}
    for path, raw in scan.captured.items():
        holder = members
        for name in path[:-1]:
            holder = holder.setdefault(name, {})
        holder[path[-1]] = parse_captured(raw)
    for path, values in scan.distinct.items():
        star = path.index("*")
        holder = members
        for name in path[: star - 1]:
            holder = holder.setdefault(name, {})
        holder[path[star - 1]] = [{path[-1]: parse_captured(raw)} for raw in values]
    return Document(
        members,
        {path: scan.captured[path] for path in _EXACT if path in scan.captured},
        scan.counted.get(("data",)),
        scan.problem,
        scan.oversize,
        scan.invalid_utf8,
    )
