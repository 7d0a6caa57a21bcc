"""Words, ids and the seeded chance behind them.

One rule for everything random: a `Random` from the seed and the names of what is decided, so that the same seed and
the same requests give the same books, whatever else ran before. Nothing here knows an endpoint.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Iterator
from typing import Any

_TEXT = """
the meter reads what each room used and writes it down before the light goes out so that a bill can be checked against
it line by line river stone garden window letter copper winter market harbour lantern forest engine paper señor naïve
Straße 水 ☂ journal column minute answer question quiet simple exact honest
"""
_PIECE = re.compile(r"\s*\S{1,6}|\s+")
WORDS = tuple(_TEXT.split())
ALPHABET = string.ascii_letters + string.digits


def chance(*names: object) -> random.Random:
    """A source of chance that depends on the names alone."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def identifier(rng: random.Random, prefix: str, length: int = 29) -> str:
    """An id as the service makes them: `chatcmpl-` and 29 letters or digits."""
    return prefix + "".join(rng.choices(ALPHABET, k=length))


def hexadecimal(rng: random.Random, prefix: str, length: int = 32) -> str:
    """An id of hexadecimal digits: `req_...`, `resp_...`."""
    return prefix + "".join(rng.choices("0123456789abcdef", k=length))


def tokens(rng: random.Random, number: int) -> list[str]:
    """The pieces of an answer, one output token each, spaces at the front as models write them."""
    pieces = rng.choices(WORDS, k=number)
    return [piece if n == 0 else " " + piece for n, piece in enumerate(pieces)]


def split(text: str) -> tuple[str, ...]:
    """A given text in pieces, one output token each."""
    return tuple(_PIECE.findall(text))


def strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def weight(value: Any) -> int:
    """A crude token count of a prompt: four for every three words, one for every whole number (token arrays)."""
    if isinstance(value, bool) or value is None:
        return 0
    if isinstance(value, (int, float)):
        return 1
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return len(value)
    if isinstance(value, list):
        return sum(weight(item) for item in value)
    if isinstance(value, dict):
        return sum(weight(item) for item in value.values() if isinstance(item, (str, list, dict)))
    return (len(str(value).split()) * 4 + 2) // 3
