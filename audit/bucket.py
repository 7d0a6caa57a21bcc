"""Usage API pages to minute buckets: whether a row of pages is a good read, and what it says.

A read is good only as a whole (DESIGN.md section 6): every page a page, the cursor never repeated and never missing,
buckets ascending, unique, inside the window, exactly one UTC minute long, every row of the asked key and grouped as
asked, every count a whole number. Anything else is not a number: it is a `BadRead` with the name of what was wrong.
A minute without a bucket counts as empty, and is counted as a hole.

Fields as in the OpenAPI document of 2026-08-21 (`facts/openai-usage.md` C.2, C.3). Pure: no socket, no file, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

MINUTE_S = 60
COUNT_MAX = 2**53 - 1
"""Above this a JSON number is no longer exact everywhere, and no bill of a minute is near it."""
PAGES_MAX = 800
"""Pages of one read; as many digests as fit in one journal line, and two years of minutes at 1440 a page."""


class UsageEndpoint(StrEnum):
    """The Usage API paths that a part is compared with, all three for every part: a call past the meter may have used
    another one than the book did."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"


GROUP_BY: dict[UsageEndpoint, tuple[str, ...]] = {
    UsageEndpoint.COMPLETIONS: ("model", "api_key_id", "batch", "service_tier"),
    UsageEndpoint.EMBEDDINGS: ("model", "api_key_id"),
    UsageEndpoint.IMAGES: ("model", "api_key_id"),
}
"""What each path is asked to group by. Only completions know batch and service tier (openai-usage.md C.1)."""

_REQUIRED: dict[UsageEndpoint, tuple[str, ...]] = {
    UsageEndpoint.COMPLETIONS: ("input_tokens", "output_tokens"),
    UsageEndpoint.EMBEDDINGS: ("input_tokens",),
    UsageEndpoint.IMAGES: ("images",),
}
_COUNTS = (
    "input_tokens",
    "input_cached_tokens",
    "input_cache_write_tokens",
    "output_tokens",
    "images",
    "num_model_requests",
)


class Problem(StrEnum):
    """Why a read is not good."""

    NOT_PERMITTED = "not_permitted"
    """401 or 403."""
    UNAVAILABLE = "unavailable"
    """No answer, or another status than 200, after all retries."""
    NOT_KEPT = "not_kept"
    """It was good when it was made, but its raw pages are no longer all there, or the ledger holds other rows."""
    NOT_JSON = "not_json"
    NOT_A_PAGE = "not_a_page"
    CURSOR_MISSING = "cursor_missing"
    """More is promised and no cursor is given."""
    CURSOR_REPEATED = "cursor_repeated"
    TOO_MANY_PAGES = "too_many_pages"
    BUCKET_UNALIGNED = "bucket_unaligned"
    """Not exactly one whole UTC minute."""
    BUCKET_OUTSIDE = "bucket_outside"
    """Outside the window that was asked for."""
    BUCKET_REPEATED = "bucket_repeated"
    BUCKET_DISORDERED = "bucket_disordered"
    OTHER_KEY = "other_key"
    """A row of another key than the one asked for, or of no key: the filter or the grouping was not applied."""
    NOT_GROUPED = "not_grouped"
    """A row without a model."""
    COUNT_MISSING = "count_missing"
    COUNT_NOT_WHOLE = "count_not_whole"
    """Not a whole number from 0 up."""


class BadRead(Exception):  # noqa: N818 - a fact about a read, not an error of ours
    """A read that is not good: its problem, and a sentence that says where."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(problem, message)
        self.problem = problem
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One result row of one bucket. A count that the row does not have is None."""

    minute: int
    """Minutes since 1970-01-01 UTC."""
    model: str
    batch: bool | None
    """None where the path does not know it."""
    service_tier: str | None
    input_tokens: int | None
    input_cached_tokens: int | None
    input_cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None
    num_model_requests: int | None


class PageReader:
    """Takes the pages of one read in order; says which cursor comes next, and at the end what they hold.

    `window_start` and `window_end` are whole minutes in seconds since 1970, half-open.
    """

    def __init__(self, endpoint: UsageEndpoint, *, api_key_id: str, window_start: int, window_end: int) -> None:
        self._endpoint = endpoint
        self._api_key_id = api_key_id
        self._start = window_start
        self._end = window_end
        self._cursors: set[str] = set()
        self._pages = 0
        self._last_start: int | None = None
        self._buckets = 0
        self._rows: list[UsageRow] = []

    @property
    def rows(self) -> tuple[UsageRow, ...]:
        """Every result row so far, in the order of the pages."""
        return tuple(self._rows)

    @property
    def holes(self) -> int:
        """Minutes of the window for which no bucket came."""
        return (self._end - self._start) // MINUTE_S - self._buckets

    def take(self, body: bytes) -> str | None:
        """The cursor of the next page, None after the last. Raises `BadRead` for anything a good read cannot hold."""
        self._pages += 1
        page = _object(body)
        data, has_more = page.get("data"), page.get("has_more")
        if not isinstance(data, list) or not isinstance(has_more, bool):
            raise BadRead(Problem.NOT_A_PAGE, "The answer has no list `data` or no boolean `has_more`.")
        for bucket in data:
            self._take_bucket(bucket)
        if not has_more:
            return None
        cursor = page.get("next_page")
        if not isinstance(cursor, str) or not cursor:
            raise BadRead(Problem.CURSOR_MISSING, f"Page {self._pages} says there is more and gives no `next_page`.")
        if cursor in self._cursors:
            raise BadRead(Problem.CURSOR_REPEATED, f"Page {self._pages} gives a `next_page` that was given before.")
        if self._pages >= PAGES_MAX:
            raise BadRead(Problem.TOO_MANY_PAGES, f"{self._pages} pages, and there is more.")
        self._cursors.add(cursor)
        return cursor

    def _take_bucket(self, bucket: Any) -> None:
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list):
            raise BadRead(Problem.NOT_A_PAGE, "A bucket has no list `results`.")
        start, end = bucket.get("start_time"), bucket.get("end_time")
        if not _whole(start) or not _whole(end) or start % MINUTE_S or end != start + MINUTE_S:
            raise BadRead(Problem.BUCKET_UNALIGNED, f"A bucket from {start!r:.40} to {end!r:.40} is not a UTC minute.")
        if not self._start <= start < self._end:
            raise BadRead(Problem.BUCKET_OUTSIDE, f"A bucket at {start}, the window is {self._start} to {self._end}.")
        if start == self._last_start:
            raise BadRead(Problem.BUCKET_REPEATED, f"Two buckets at {start}.")
        if self._last_start is not None and start < self._last_start:
            raise BadRead(Problem.BUCKET_DISORDERED, f"A bucket at {start} after one at {self._last_start}.")
        self._last_start = start
        self._buckets += 1
        self._rows.extend(self._row(result, start // MINUTE_S) for result in results)

    def _row(self, result: Any, minute: int) -> UsageRow:
        if not isinstance(result, dict):
            raise BadRead(Problem.NOT_A_PAGE, f"A result in minute {minute} is not an object.")
        kind = result.get("object")
        if kind is not None and kind != f"organization.usage.{self._endpoint}.result":
            raise BadRead(Problem.NOT_A_PAGE, f"A result of kind {kind!r:.80} on the path {self._endpoint}.")
        if result.get("api_key_id") != self._api_key_id:
            raise BadRead(Problem.OTHER_KEY, f"A result of key {result.get('api_key_id')!r:.80}, not of the asked one.")
        model, batch, tier = result.get("model"), result.get("batch"), result.get("service_tier")
        if not isinstance(model, str) or not model:
            raise BadRead(Problem.NOT_GROUPED, f"A result in minute {minute} has no model.")
        if not (batch is None or isinstance(batch, bool)) or not (tier is None or isinstance(tier, str)):
            raise BadRead(Problem.NOT_A_PAGE, f"A result in minute {minute} has an odd `batch` or `service_tier`.")
        counts = {name: _count(result, name) for name in _COUNTS}
        for name in _REQUIRED[self._endpoint]:
            if counts[name] is None:
                raise BadRead(Problem.COUNT_MISSING, f"A result in minute {minute} has no `{name}`.")
        return UsageRow(minute=minute, model=model, batch=batch, service_tier=tier, **counts)


def _object(body: bytes) -> dict[str, Any]:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRead(Problem.NOT_JSON, f"The answer is not JSON: {error}.") from None
    if not isinstance(page, dict):
        raise BadRead(Problem.NOT_A_PAGE, "The answer is JSON, but not an object.")
    return page


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(result: dict[str, Any], name: str) -> int | None:
    value = result.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise BadRead(Problem.COUNT_NOT_WHOLE, f"`{name}` is {value!r:.40}, not a whole number.")
    return value
