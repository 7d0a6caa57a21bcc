"""One page of the organization Usage API, read strictly: its buckets with their rows, and the cursor it gives.

Everything that one page can show by itself is checked here: it is a page, its buckets are whole UTC minutes, its rows
are of the asked key, grouped as asked and counted in whole numbers, and it does not deny itself. What is not so is a
`BadRead` with the name of what was wrong, never a number. What only the pages of a read together can show is
`usage_reader`'s affair.

Fields as in the OpenAPI document of 2026-08-21 (docs/openai-usage.md C.2, C.3). Pure: no socket, no file, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

MINUTE_S = 60
COUNT_MAX = 2**53 - 1
"""Above this a JSON number is no longer exact everywhere, and no bill of a minute is near it."""


class UsageEndpoint(StrEnum):
    """The Usage API paths that a key's book is compared with, all three for every window: a call past the meter may
    have used another one than the book did."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"


GROUP_BY: dict[UsageEndpoint, tuple[str, ...]] = {
    UsageEndpoint.COMPLETIONS: ("model", "api_key_id", "batch", "service_tier"),
    UsageEndpoint.EMBEDDINGS: ("model", "api_key_id"),
    UsageEndpoint.IMAGES: ("model", "api_key_id"),
}
"""What each path is asked to group by. Only completions know batch and service tier (docs/openai-usage.md C.1)."""

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
_WITHIN_INPUT = ("input_cached_tokens", "input_cache_write_tokens")
"""Counts that are part of `input_tokens` (docs/openai-usage.md C.3)."""


class Problem(StrEnum):
    """Why a read is not good."""

    NOT_PERMITTED = "not_permitted"
    """401 or 403."""
    UNAVAILABLE = "unavailable"
    """No answer, or another status than 200, after all retries."""
    NOT_KEPT = "not_kept"
    """It was good when it was made, but its raw pages are not all there, whole, beside the journal."""
    NOT_JUDGED = "not_judged"
    """A ledger of an older submeter holds it, and its pages have not been read by this rule yet."""
    HOLE_NOT_ASKED = "hole_not_asked"
    """A minute is not listed, and nothing was asked from there on, as an older submeter did not."""
    BAD_WINDOW = "bad_window"
    """Not a window of whole minutes that had ended when it was asked for."""
    OTHER_PATH = "other_path"
    """A usage endpoint that this submeter does not read."""
    NOT_JSON = "not_json"
    NOT_A_PAGE = "not_a_page"
    CURSOR_MISSING = "cursor_missing"
    """More is promised and no cursor is given."""
    CURSOR_REPEATED = "cursor_repeated"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_MANY_HOLES = "too_many_holes"
    """The rest of the window was asked again so often that the read has as many pages as one may have."""
    BUCKET_UNALIGNED = "bucket_unaligned"
    """Not exactly one whole UTC minute."""
    BUCKET_OUTSIDE = "bucket_outside"
    """Outside the window that was asked for."""
    BUCKET_REPEATED = "bucket_repeated"
    BUCKET_DISORDERED = "bucket_disordered"
    CONTRADICTED = "contradicted"
    """Two things are said that cannot both be true: two rows of one group in one bucket, more cached tokens than input,
    a cursor after the last page, or two answers of one read that differ on a minute."""
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
    api_key_id: str | None
    """None: billed under no key id; only where the rows of all keys were asked for."""
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


Bucket = tuple[int, tuple[UsageRow, ...]]
"""One minute that a page lists, in minutes since 1970-01-01 UTC, and its rows; none in an empty minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """One page as it came."""

    buckets: tuple[Bucket, ...]
    """In the order of the page."""
    cursor: str | None
    """Of the next page; None: this is the answer's last."""


def read_page(body: bytes, endpoint: UsageEndpoint, *, api_key_id: str | None) -> UsagePage:
    """One page of minute buckets. Raises `BadRead` for anything that a good read cannot hold.

    `api_key_id`: the key whose rows were asked for; None: those of all keys were.
    """
    page = read_object(body)
    data, has_more, cursor = page.get("data"), page.get("has_more"), page.get("next_page")
    if not isinstance(data, list) or not isinstance(has_more, bool):
        raise BadRead(Problem.NOT_A_PAGE, "The answer has no list `data` or no boolean `has_more`.")
    buckets = tuple(_bucket(bucket, endpoint, api_key_id) for bucket in data)
    if not has_more:
        if cursor:
            raise BadRead(Problem.CONTRADICTED, "A page says that there is no more, and gives a `next_page`.")
        return UsagePage(buckets=buckets, cursor=None)
    if not isinstance(cursor, str) or not cursor:
        raise BadRead(Problem.CURSOR_MISSING, "A page says that there is more, and gives no `next_page`.")
    return UsagePage(buckets=buckets, cursor=cursor)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that an answer is. Raises `BadRead` where it is none."""
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRead(Problem.NOT_JSON, f"The answer is not JSON: {error}.") from None
    if not isinstance(page, dict):
        raise BadRead(Problem.NOT_A_PAGE, "The answer is JSON, but not an object.")
    return page


def _bucket(bucket: Any, endpoint: UsageEndpoint, api_key_id: str | None) -> Bucket:
    results = bucket.get("results") if isinstance(bucket, dict) else None
    if not isinstance(results, list):
        raise BadRead(Problem.NOT_A_PAGE, "A bucket has no list `results`.")
    start, end = bucket.get("start_time"), bucket.get("end_time")
    if not _whole(start) or not _whole(end) or start % MINUTE_S or end != start + MINUTE_S:
        raise BadRead(Problem.BUCKET_UNALIGNED, f"A bucket from {start!r:.40} to {end!r:.40} is not a UTC minute.")
    minute = start // MINUTE_S
    if not results:
        return minute, ()
    rows = tuple(_row(result, minute, endpoint, api_key_id) for result in results)
    if len(rows) > 1 and len({_group(result) for result in results}) < len(rows):
        raise BadRead(Problem.CONTRADICTED, f"Minute {minute} has two rows of one group.")
    return minute, rows


def _group(result: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """What a row is a row of: all its names and texts, asked for or not. Two rows of one bucket cannot share it."""
    return frozenset(
        (name, repr(value)) for name, value in result.items() if value is None or isinstance(value, str | bool)
    )


def _row(result: Any, minute: int, endpoint: UsageEndpoint, api_key_id: str | None) -> UsageRow:
    if not isinstance(result, dict):
        raise BadRead(Problem.NOT_A_PAGE, f"A result in minute {minute} is not an object.")
    kind = result.get("object")
    if kind is not None and kind != f"organization.usage.{endpoint}.result":
        raise BadRead(Problem.NOT_A_PAGE, f"A result of kind {kind!r:.80} on the path {endpoint}.")
    key = result.get("api_key_id")
    if key != api_key_id if api_key_id is not None else not (key is None or isinstance(key, str)):
        raise BadRead(Problem.OTHER_KEY, f"A result of key {key!r:.80}, not of the asked one.")
    model, batch, tier = result.get("model"), result.get("batch"), result.get("service_tier")
    if not isinstance(model, str) or not model:
        raise BadRead(Problem.NOT_GROUPED, f"A result in minute {minute} has no model.")
    if not (batch is None or isinstance(batch, bool)) or not (tier is None or isinstance(tier, str)):
        raise BadRead(Problem.NOT_A_PAGE, f"A result in minute {minute} has an odd `batch` or `service_tier`.")
    counts = {name: _count(result, name) for name in _COUNTS}
    for name in _REQUIRED[endpoint]:
        if counts[name] is None:
            raise BadRead(Problem.COUNT_MISSING, f"A result in minute {minute} has no `{name}`.")
    for name in _WITHIN_INPUT:
        part, whole = counts[name], counts["input_tokens"]
        if part is not None and whole is not None and part > whole:
            raise BadRead(Problem.CONTRADICTED, f"A result in minute {minute} has more `{name}` than `input_tokens`.")
    return UsageRow(minute=minute, api_key_id=key, model=model, batch=batch, service_tier=tier, **counts)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(result: dict[str, Any], name: str) -> int | None:
    value = result.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise BadRead(Problem.COUNT_NOT_WHOLE, f"`{name}` is {value!r:.40}, not a whole number.")
    return value
