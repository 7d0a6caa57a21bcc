"""How a certificate is written and sealed: one document has one row of bytes, and the seal is over all of it.

Never here: what a certificate says, or whether it follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def seal(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document without its seal, keys in order."""
    rest = {name: value for name, value in document.items() if name != "seal"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def written(document: Mapping[str, Any]) -> bytes:
    """The only bytes that stand for a document.

    Another row of bytes can be read in two ways: of a name given twice one reader keeps the first value and another
    the last (RFC 8259, section 4), so that what is sealed need not be what is seen.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(document, option=options)
