"""The grammar of JSON (RFC 8259) as patterns over bytes.

Let through beside it, because real bodies hold them: escapes of lone surrogates, any bytes above 0x7F inside
strings, NaN and Infinity. Everything that repeats is possessive: a text that is cut off costs one pass and no
backtracking.

Never here: state.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

_PLAIN = rb'[^"\\\x00-\x1f]*+'
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_REST = _PLAIN + rb"(?:" + _ESCAPE + _PLAIN + rb")*+"
_STRING = rb'"' + _REST + rb'"'
_BARE = rb"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity)"
_SCALAR = rb"(?:" + _STRING + rb"|" + _BARE + rb")"
_WS = rb"[ \t\n\r]*+"

SPACE = re.compile(_WS)
STRING_TOKEN = re.compile(_STRING)
STRING_REST = re.compile(_REST)
STRING_CUT = re.compile(rb"(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
"""What may be left at a cut inside a string: nothing, or the beginning of an escape."""
BARE_TOKEN = re.compile(rb'[^ \t\n\r,:"\[\]{}]+')
BARE_WHOLE = re.compile(_BARE)
RUN_DEPTH = 4
"""Containers nested no deeper than this are passed over whole, as part of a run."""


class Runs(NamedTuple):
    """What is passed over at once, in C; a run ends behind a comma, so what follows is checked as ever."""

    elements: re.Pattern[bytes]
    members: re.Pattern[bytes]
    element: re.Pattern[bytes]


@cache
def runs() -> Runs:
    """The patterns of runs; made when first needed, since most bodies are short and never are.

    Everything that repeats is possessive: a run that is cut off costs one pass and no backtracking.
    """
    value = _SCALAR
    for _ in range(RUN_DEPTH):
        more = _WS + rb"(?:,(?!" + _WS + rb"%b)|(?=%b))"
        array = rb"\[(?:" + _WS + b"(?:" + value + b")" + more % (rb"\]", rb"\]") + rb")*+" + _WS + rb"\]"
        pair = _WS + _STRING + _WS + rb":" + _WS + b"(?:" + value + b")" + more % (rb"\}", rb"\}")
        value = _SCALAR + b"|" + array + rb"|\{(?:" + pair + rb")*+" + _WS + rb"\}"
    element = _WS + rb"(?:" + value + rb")" + _WS + rb","
    member = _WS + _STRING + _WS + rb":" + element
    return Runs(re.compile(rb"(?:" + element + rb")*+"), re.compile(rb"(?:" + member + rb")*+"), re.compile(element))
