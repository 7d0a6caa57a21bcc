"""The reads of a certificate, from its raw pages alone: whether each is a good read, and what rows it shows.

What a read says of itself is checked against what holds it: its time is in its id, its rows in its pages, and no good
read was asked before its window had ended. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ..data.usage_pages import BadRead, UsageEndpoint, UsageRow
from ..data.usage_reader import replay
from .history import Attempt
from .unit import BillRow
from .window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One read of a document."""

    attempt: Attempt
    window: Window
    rows: list[BillRow] = field(default_factory=list)
    """Empty unless it is good."""

    @property
    def good(self) -> bool:
        return self.attempt.good


def read_of(
    endpoint: UsageEndpoint, api_key_id: str, told: Mapping[str, Any], pages: Mapping[str, bytes], *, made_at: int
) -> tuple[Read, str | None]:
    """A read as the document has it, and in words what does not follow from its id and pages; None: all does."""
    window = Window(**told["window"])
    asked_at, read_id = told["asked_at"], told["read_id"]
    attempt = Attempt(read_id=read_id, asked_at=asked_at, good=told["good"], problem=told["problem"])
    read = Read(attempt=attempt, window=window)
    name = f"Read {read_id} of {endpoint}"
    if UUID(read_id).int >> 80 != asked_at // 1000:
        return read, f"{name} was not asked when it says, by its id."
    if asked_at > made_at:
        return read, f"{name} was asked after the certificate was made."
    if not attempt.good:
        return read, f"{name} is not good and has pages." if told["pages"] or not told["problem"] else None
    if any(digest not in pages for digest in told["pages"]):
        return read, f"{name}: its pages are not all there."
    try:
        reader = replay(
            endpoint,
            api_key_id=api_key_id,
            window_start=window.start_us,
            window_end=window.end_us,
            asked_at=asked_at,
            pages=[pages[digest] for digest in told["pages"]],
        )
    except BadRead as bad:
        return read, f"{name}: {bad.message}"
    return Read(attempt=attempt, window=window, rows=[_bill_row(endpoint, row) for row in reader.rows]), None


def _bill_row(endpoint: UsageEndpoint, row: UsageRow) -> BillRow:
    return BillRow(
        usage_endpoint=endpoint,
        minute=row.minute,
        model=row.model,
        batch=bool(row.batch),
        input_tokens=row.input_tokens,
        cached_input_tokens=row.input_cached_tokens,
        cache_write_tokens=row.input_cache_write_tokens,
        output_tokens=row.output_tokens,
        images=row.images,
        num_model_requests=row.num_model_requests,
    )
