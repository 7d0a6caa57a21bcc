"""Raw Usage API pages of good reads, from the journal's `reads/` folder into bucket rows.

A page is `<sha256>.json.gz`, named by the digest of its uncompressed bytes, and stays the record; the rows are a
reading of it that can be made again. Never here: the network, and any judgement on what the buckets mean.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from .clock import US_PER_S
from .columns import BUCKET_COLUMNS, Form, fits

_OURS = frozenset({"read_id", "usage_endpoint", "minute"})
_TOLD = {name: form for name, form in BUCKET_COLUMNS.items() if name not in _OURS}


class PageUnusableError(ValueError):
    """A page is missing, damaged, or not a page."""


def bucket_rows(reads: Path, line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bucket rows of one `usage_read` line, page by page. Raises `PageUnusableError` naming the page."""
    rows: list[dict[str, Any]] = []
    for digest in line.get("pages") or ():
        page = _read_page(reads, str(digest))
        try:
            for bucket in page["data"]:
                minute = bucket["start_time"] * US_PER_S
                if not fits(Form.TIME, minute):
                    raise TypeError("start_time is no time")
                for result in bucket["results"]:
                    row = {name: _told(result, name, form) for name, form in _TOLD.items()}
                    row["read_id"] = line["read_id"]
                    row["usage_endpoint"] = line["usage_endpoint"]
                    row["minute"] = minute
                    rows.append(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise PageUnusableError(f"page {digest[:12]} is not a page of usage buckets") from error
    return rows


def _told(result: Mapping[str, Any], name: str, form: Form) -> object:
    """One field as the provider told it; None where it told none, or something of another form."""
    value = result.get(name)
    return value if value is None or fits(form, value) else None


def _read_page(reads: Path, digest: str) -> Any:
    if len(digest) != 64 or not digest.isalnum():
        raise PageUnusableError(f"page {digest[:12]!r} has no proper digest")
    try:
        body = gzip.decompress((reads / f"{digest}.json.gz").read_bytes())
    except FileNotFoundError as error:
        raise PageUnusableError(f"page {digest[:12]} is missing from {reads.name}/") from error
    except (OSError, EOFError, zlib.error) as error:
        raise PageUnusableError(f"page {digest[:12]} cannot be read: {error}") from error
    if hashlib.sha256(body).hexdigest() != digest:
        raise PageUnusableError(f"page {digest[:12]} is not what was read: its digest differs")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PageUnusableError(f"page {digest[:12]} is not JSON") from error
