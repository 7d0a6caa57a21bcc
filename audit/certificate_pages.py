"""The reads of a certificate, from its raw pages alone: whether each is a good read, and what rows it shows.

What a read says of itself is checked against what holds it: its time is in its id, its rows in its pages, and no good
read was asked before its window had ended. Pages are read by the one strict reader. Pure.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from ..data.usage_pages import BadRead, UsageEndpoint, UsageRow
from ..data.usage_reader import replay
from .history import Read
from .questions import StoredRead
from .unit import BillRow
from .window import Window

PAGE_BYTES_MAX = 256 * 1024 * 1024
WINDOW_MIN_MAX = 800 * 24 * 60
"""As many minutes as the pages of one read can hold."""


def packed(body: bytes) -> str:
    """A page as a document has it."""
    return base64.b64encode(gzip.compress(body, mtime=0)).decode()


def unpacked(told: Mapping[str, str]) -> tuple[dict[str, bytes], list[str]]:
    """The pages of a document by their digests, and in words those that are not what their digest says."""
    found: dict[str, bytes] = {}
    problems = []
    for digest, text in told.items():
        try:
            body = zlib.decompressobj(wbits=31).decompress(base64.b64decode(text, validate=True), PAGE_BYTES_MAX)
        except (binascii.Error, zlib.error):
            body = b""
        if hashlib.sha256(body).hexdigest() == digest:
            found[digest] = body
        else:
            problems.append(f"Page {digest[:12]} is not what its digest says.")
    return found, problems


def window_of(told: Mapping[str, Any]) -> Window:
    """A window of a document. Raises `TypeError` or `ValueError` where it is none that can be read."""
    window = Window(**told)
    if type(window.start) is not int or type(window.end) is not int:
        raise TypeError("a window that is not of whole minutes")
    if window.start < 0 or window.end - window.start > WINDOW_MIN_MAX:
        raise ValueError("a window of more minutes than can be read")
    return window


def read_record(read: Read | StoredRead, pages: tuple[str, ...]) -> dict[str, Any]:
    """A read as a document has it; `pages`: the digests of those of a good one."""
    return {
        "read_id": read.read_id,
        "asked_at": read.asked_us,
        "window": asdict(read.window),
        "good": read.good,
        "problem": read.problem,
        "pages": list(pages) if read.good else [],
    }


def read_of(
    endpoint: UsageEndpoint, api_key_id: str, told: Mapping[str, Any], pages: Mapping[str, bytes], *, now_us: int
) -> tuple[Read, list[BillRow], list[str]]:
    """A read of a document, the rows it shows, and in words what does not follow from its id and its pages."""
    window = window_of(told["window"])
    asked_us, read_id, good, problem = told["asked_at"], told["read_id"], told["good"], told["problem"]
    if type(asked_us) is not int or type(good) is not bool:
        raise TypeError(f"read {read_id}: no time, or neither good nor not")
    read = Read(read_id=read_id, asked_us=asked_us, window=window, good=good, problem=problem)
    name = f"Read {read_id} of {endpoint}"
    if UUID(read_id).int >> 80 != asked_us // 1000:
        return read, [], [f"{name} was not asked when it says, by its id."]
    if asked_us > now_us:
        return read, [], [f"{name} was asked after the verdict was derived."]
    if not good:
        named = isinstance(problem, str) and problem and not told["pages"]
        return read, [], [] if named else [f"{name} is not good, and has pages or no problem."]
    if problem is not None:
        return read, [], [f"{name} is good and has a problem."]
    if any(digest not in pages for digest in told["pages"]):
        return read, [], [f"{name}: its pages are not all there."]
    try:
        reader = replay(
            endpoint,
            api_key_id=api_key_id,
            window_start=window.start_us,
            window_end=window.end_us,
            asked_at=asked_us,
            pages=[pages[digest] for digest in told["pages"]],
        )
    except BadRead as bad:
        return read, [], [f"{name}: {bad.message}"]
    return read, [_bill_row(endpoint, row) for row in reader.rows], []


def _bill_row(endpoint: UsageEndpoint, row: UsageRow) -> BillRow:
    return BillRow(
        usage_endpoint=endpoint,
        minute=row.minute,
        model=row.model,
        batch=bool(row.batch),
        service_tier=row.service_tier,
        input_tokens=row.input_tokens,
        cached_input_tokens=row.input_cached_tokens,
        cache_write_tokens=row.input_cache_write_tokens,
        output_tokens=row.output_tokens,
        images=row.images,
        num_model_requests=row.num_model_requests,
    )
