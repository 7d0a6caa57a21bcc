"""One line of a journal as bytes: a JSON object of at most 64 KiB, whatever its values are.

Nothing here writes, numbers or reads a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

FORMAT = 1
"""The `v` of every line."""
LINE_BYTES_MAX = 64 * 1024
_TEXT_CHARS_MAX = 4_000
_INT_MAX = 2**63 - 1


def encode_line(line: Mapping[str, Any]) -> bytes:
    """A line with its newline; a usage too long for it is left out, and its size and digest are kept."""
    try:
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # One value that JSON has no way to say (a lone surrogate, an integer beyond 64 bits) must not cost the line.
        line = {name: _sayable(value) for name, value in line.items()}
        data = orjson.dumps(line) + b"\n"
    if len(data) <= LINE_BYTES_MAX:
        return data
    short = dict(line)
    for name in ("usage", "tool_usage"):
        if name in short:
            raw = orjson.dumps(short.pop(name))
            short[f"{name}_bytes"] = len(raw)
            short[f"{name}_sha256"] = hashlib.sha256(raw).hexdigest()
            short["flags"] = [*short.get("flags", ()), "usage_too_large"]
    for name, value in short.items():
        if isinstance(value, str) and len(value) > _TEXT_CHARS_MAX:
            short[name] = value[:_TEXT_CHARS_MAX]
    data = orjson.dumps(short) + b"\n"
    if len(data) > LINE_BYTES_MAX:
        raise ValueError(f"a {line['kind']} line of {len(data)} bytes is over {LINE_BYTES_MAX}")
    return data


def _sayable(value: Any) -> Any:
    """The value as JSON can say it: text with what is no UTF-8 replaced; None for what no column could hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, int) and not -_INT_MAX <= value <= _INT_MAX:
        return None
    try:
        orjson.dumps(value)
    except TypeError:
        return None
    return value
