"""A JSON document of any size, read for a few members only, in bounded memory.

Works on bytes with regular expressions: whole runs of plain members and elements are passed over at once, strings of
any length are passed over without being kept, and the raw bytes of wanted values are captured (64 KiB each at most).
The grammar is RFC 8259's and is checked throughout: what is broken or cut short says so. Three things that real
bodies hold and that strict readers refuse are let through: escapes of lone surrogates, invalid UTF-8 inside strings,
and NaN or Infinity. Of a member given twice the last stands, as in every JSON library the clients use.

What is wanted is a tree: member name -> LEAF (capture its bytes), COUNT (count its elements), or another tree;
`*` stands for every element of an array, whose captures are kept once each.

Never here: what the members mean, compression, and the whole document in memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, TypeAlias

from .json_grammar import BARE_TOKEN, BARE_WHOLE, SPACE, STRING_CUT, STRING_REST, STRING_TOKEN, runs

VALUE_BYTES_MAX = 64 * 1024
"""A longer wanted value is passed over: a journal line holds no more than this (docs/design/journal-and-ledger.md
"The journal")."""
DEPTH_MAX = 1024
"""Deeper nesting is refused, as orjson refuses it."""
_SLICE_BYTES = 64 * 1024
_KEY_BYTES_MAX = 1024
_DISTINCT_MAX = 64
_BARE_BEGIN = b"-0123456789tfnNI"


class Want(StrEnum):
    """What to do with a value found at a wanted place."""

    LEAF = "leaf"
    COUNT = "count"


Tree: TypeAlias = Mapping[str, "Want | Tree"]
Path: TypeAlias = tuple[str, ...]


class Problem(StrEnum):
    """Why a document could not be read."""

    TRUNCATED = "truncated"
    BROKEN = "broken"


class Scan(NamedTuple):
    """What a scan has found so far."""

    captured: dict[Path, bytes]
    """Raw bytes of wanted values, by path."""
    distinct: dict[Path, dict[bytes, None]]
    """Raw bytes of values wanted of every element of an array, each once, in order."""
    counted: dict[Path, int]
    """Elements of arrays that were to be counted."""
    oversize: frozenset[Path]
    """Wanted values longer than `VALUE_BYTES_MAX`."""
    problem: Problem | None
    invalid_utf8: bool


class _State(IntEnum):
    VALUE = 0
    FIRST_VALUE = 1
    KEY = 2
    FIRST_KEY = 3
    COLON = 4
    AFTER = 5
    END = 6


class JsonScanner:
    """One document fed in chunks; `scan()` tells at any time what was found and whether the document is whole."""

    def __init__(self, wanted: Tree) -> None:
        self._state = _State.VALUE
        self._stack: list[tuple[bool, Tree | Want | None, Path]] = []
        """Open containers: is it an object, what is wanted inside it, and where it is."""
        self._node: Tree | Want | None = wanted
        self._path: Path = ()
        """What is wanted of the value that comes next, and where that value is."""
        self._in_string = False
        self._string_is_key = False
        self._carry = b""
        self._started = False
        self._broken = False
        self._captured: dict[Path, bytes] = {}
        self._distinct: dict[Path, dict[bytes, None]] = {}
        self._counted: dict[Path, int] = {}
        self._oversize: set[Path] = set()
        self._capture: bytearray | None = None
        self._capture_path: Path = ()
        self._capture_depth = -1
        self._capture_from = 0
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the document. Never raises for what they hold."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._broken:
                return
            piece = data[start : start + _SLICE_BYTES]
            if self._utf8 is not None:
                try:
                    self._utf8.decode(piece)
                except UnicodeDecodeError:
                    self._utf8 = None
            buffer = self._carry + piece
            if not self._started:
                if len(buffer) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(buffer):
                    self._carry = buffer
                    continue
                buffer = buffer.removeprefix(codecs.BOM_UTF8)
                self._started = True
            consumed = self._run(buffer)
            if self._capture is not None:
                self._capture += buffer[self._capture_from : consumed]
                self._capture_from = 0
                self._drop_oversize()
            self._carry = buffer[consumed:]
            if len(self._carry) > _SLICE_BYTES:
                self._broken = True

    def scan(self) -> Scan:
        """What was found so far. Pure: the scan can go on after it."""
        problem: Problem | None = None
        if self._broken:
            problem = Problem.BROKEN
        elif self._state is not _State.END and not (not self._stack and BARE_WHOLE.fullmatch(self._carry)):
            problem = Problem.TRUNCATED
        return Scan(
            captured=dict(self._captured),
            distinct={path: dict(values) for path, values in self._distinct.items()},
            counted=dict(self._counted),
            oversize=frozenset(self._oversize),
            problem=problem,
            invalid_utf8=self._utf8 is None,
        )

    def _run(self, buffer: bytes) -> int:
        """Walk as far as whole tokens go; the index of the first byte that has to wait for more."""
        position = 0
        end = len(buffer)
        while not self._broken:
            if self._in_string:
                position = self._end_string(buffer, position)
                if self._in_string:
                    return position
                continue
            position = self._run_over(buffer, position)
            position = _space_end(buffer, position)
            if position == end:
                return position
            after = self._token(buffer, position)
            if after == position and not self._in_string:
                return position
            position = after
        return end

    def _run_over(self, buffer: bytes, position: int) -> int:
        """Pass over as many whole elements or members as nothing is wanted of; where they end."""
        if not self._stack or self._node is not None:
            return position
        is_object, node, path = self._stack[-1]
        if is_object:
            if node is None and self._state in (_State.KEY, _State.FIRST_KEY):
                run = runs().members.match(buffer, position)
                if run is not None and run.end() > position:
                    self._state = _State.KEY
                    return run.end()
        elif self._state in (_State.VALUE, _State.FIRST_VALUE):
            if node is None:
                run = runs().elements.match(buffer, position)
                if run is not None and run.end() > position:
                    self._state = _State.VALUE
                    return run.end()
            elif node is Want.COUNT:
                match_element = runs().element.match
                while element := match_element(buffer, position):
                    self._counted[path] += 1
                    self._state = _State.VALUE
                    position = element.end()
        return position

    def _token(self, buffer: bytes, position: int) -> int:
        """Take one token; `position` itself where it is cut off and has to wait."""
        byte = buffer[position]
        match self._state:
            case _State.VALUE | _State.FIRST_VALUE:
                return self._value(buffer, position, byte)
            case _State.KEY | _State.FIRST_KEY:
                return self._key(buffer, position, byte)
            case _State.COLON:
                self._broken = byte != 0x3A
                self._state = _State.VALUE
                return position + 1
            case _State.AFTER:
                is_object = self._stack[-1][0]
                if byte == 0x2C:
                    self._state = _State.KEY if is_object else _State.VALUE
                    if not is_object:
                        self._next_element()
                elif byte == (0x7D if is_object else 0x5D):
                    self._close(buffer, position + 1)
                else:
                    self._broken = True
                return position + 1
            case _State.END:
                self._broken = True
                return position

    def _value(self, buffer: bytes, position: int, byte: int) -> int:
        first = self._state is _State.FIRST_VALUE
        if first and byte == 0x5D:
            self._close(buffer, position + 1)
            return position + 1
        if byte in b"{[":
            self._begin(position)
            self._open(byte == 0x7B)
            return position + 1
        if byte == 0x22:
            self._begin(position)
            token = STRING_TOKEN.match(buffer, position)
            if token is None:
                self._in_string, self._string_is_key = True, False
                return position + 1
            self._finish_value(buffer, token.end())
            return token.end()
        bare = BARE_TOKEN.match(buffer, position)
        if bare is None or byte not in _BARE_BEGIN:
            self._broken = True
            return position
        if bare.end() == len(buffer):
            # A number may go on in the next chunk; only what follows it tells its end.
            return position
        if BARE_WHOLE.fullmatch(buffer, position, bare.end()) is None:
            self._broken = True
            return position
        self._begin(position)
        self._finish_value(buffer, bare.end())
        return bare.end()

    def _key(self, buffer: bytes, position: int, byte: int) -> int:
        if byte == 0x7D and self._state is _State.FIRST_KEY:
            self._close(buffer, position + 1)
            return position + 1
        if byte != 0x22:
            self._broken = True
            return position
        token = STRING_TOKEN.match(buffer, position)
        if token is None:
            if len(buffer) - position <= _KEY_BYTES_MAX and _string_may_go_on(buffer, position + 1):
                return position
            # No wanted name is this long.
            self._in_string, self._string_is_key = True, True
            self._node = None
            return position + 1
        self._name(token.group())
        self._state = _State.COLON
        return token.end()

    def _name(self, raw: bytes) -> None:
        """Look a member's name up in what is wanted of its object."""
        _, node, path = self._stack[-1]
        self._node = None
        if not isinstance(node, Mapping):
            return
        text = raw.decode("utf-8", "replace")
        name = str(json.loads(text)) if "\\" in text else text[1:-1]
        if name == "*" or name not in node:
            return
        self._node = node[name]
        self._path = (*path, name)
        if "*" not in path:
            self._forget(self._path)

    def _forget(self, path: Path) -> None:
        """Drop what an earlier member of the same name gave: the last one stands."""
        for found in (self._captured, self._distinct, self._counted):
            for stale in [key for key in found if key[: len(path)] == path]:
                del found[stale]
        self._oversize = {key for key in self._oversize if key[: len(path)] != path}

    def _next_element(self) -> None:
        """Set what is wanted of the element that comes next in the innermost array."""
        _, node, path = self._stack[-1]
        self._node = None
        if isinstance(node, Mapping) and "*" in node:
            self._node = node["*"]
            self._path = (*path, "*")

    def _begin(self, position: int) -> None:
        """A value begins: count it, and capture it if it is wanted."""
        if self._stack and self._stack[-1][1] is Want.COUNT:
            self._counted[self._stack[-1][2]] += 1
        if self._node is Want.LEAF:
            self._capture = bytearray()
            self._capture_path = self._path
            self._capture_depth = len(self._stack)
            self._capture_from = position

    def _open(self, is_object: bool) -> None:
        node = self._node
        if is_object:
            inside = node if isinstance(node, Mapping) else None
            self._stack.append((True, inside, self._path))
            self._state = _State.FIRST_KEY
        else:
            wanted = node is Want.COUNT or (isinstance(node, Mapping) and "*" in node)
            if node is Want.COUNT:
                self._counted[self._path] = 0
            self._stack.append((False, node if wanted else None, self._path))
            self._state = _State.FIRST_VALUE
            self._next_element()
        if is_object:
            self._node = None
        self._broken = len(self._stack) > DEPTH_MAX

    def _close(self, buffer: bytes, after: int) -> None:
        self._stack.pop()
        self._finish_value(buffer, after)

    def _finish_value(self, buffer: bytes, after: int) -> None:
        """A value has ended at `after`: keep it if it was the captured one, and say what may come next."""
        if self._capture is not None and len(self._stack) == self._capture_depth:
            self._capture += buffer[self._capture_from : after]
            if not self._drop_oversize():
                self._keep(self._capture_path, bytes(self._capture))
            self._capture = None
        self._node = None
        self._state = _State.AFTER if self._stack else _State.END

    def _drop_oversize(self) -> bool:
        """Give a capture up that has grown too long."""
        if self._capture is None or len(self._capture) <= VALUE_BYTES_MAX:
            return False
        self._oversize.add(self._capture_path)
        self._capture = None
        return True

    def _keep(self, path: Path, raw: bytes) -> None:
        if "*" not in path:
            self._captured[path] = raw
            return
        values = self._distinct.setdefault(path, {})
        if len(values) < _DISTINCT_MAX:
            values[raw] = None

    def _end_string(self, buffer: bytes, position: int) -> int:
        """Pass over the rest of a string; still `_in_string` after it where the buffer ends first."""
        rest = STRING_REST.match(buffer, position)
        position = rest.end() if rest is not None else position
        if position < len(buffer) and buffer[position] == 0x22:
            self._in_string = False
            if self._string_is_key:
                self._state = _State.COLON
            else:
                self._finish_value(buffer, position + 1)
            return position + 1
        if STRING_CUT.match(buffer, position) is None:
            self._broken = True
            self._in_string = False
        return position


def _string_may_go_on(buffer: bytes, position: int) -> bool:
    """Whether the string whose inside begins here is only cut off, not broken."""
    rest = STRING_REST.match(buffer, position)
    return rest is not None and STRING_CUT.match(buffer, rest.end()) is not None


def _space_end(buffer: bytes, position: int) -> int:
    space = SPACE.match(buffer, position)
    return space.end() if space is not None else position


def parse_captured(raw: bytes) -> Any:
    """The value of captured bytes, integers of any size exact; None where even that cannot be read."""
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
