"""A question to the organization Usage API, read and refused as the real one reads and refuses.

Rules from the OpenAPI document of 2026-08-21 and from reports of live probes (2026): whole seconds only, a limit per
bucket width, arrays as `name[]=a` or as repeated `name=a`, and a cursor that fits one exact question. No usage is
read here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from .frame import Refusal

WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}
LIMITS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets per page: when not asked for, and at most."""
COSTS_LIMITS = {"1d": (7, 180)}

_COMMON = ("project_id", "user_id", "api_key_id", "model")
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "completions": (*_COMMON, "batch", "service_tier"),
    "decisions": (*_COMMON, "batch", "service_tier"),
    "embeddings": _COMMON,
    "moderations": _COMMON,
    "images": (*_COMMON, "size", "source"),
    "audio_speeches": _COMMON,
    "audio_transcriptions": _COMMON,
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": ("project_id", "user_id", "api_key_id", "vector_store_id"),
    "web_search_calls": (*_COMMON, "context_level"),
    "costs": ("project_id", "line_item", "api_key_id"),
}
"""What each usage endpoint can be grouped by."""
FILTERS = {
    "project_ids": "project_id",
    "user_ids": "user_id",
    "api_key_ids": "api_key_id",
    "models": "model",
    "sizes": "size",
    "sources": "source",
    "vector_store_ids": "vector_store_id",
    "context_levels": "context_level",
    "line_items": "line_item",
}
"""Array parameters, and the dimension that each filters by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """One question."""

    usage_endpoint: str
    start_time: int
    end_time: int
    """Exclusive; one second past now where the caller gave none."""
    width_s: int
    limit: int
    """Buckets per page."""
    group_by: tuple[str, ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    """Dimension and the values that pass."""
    batch: bool | None
    offset: int
    """Buckets on earlier pages."""
    digest: str
    """What the cursor is bound to: every parameter but `page`."""

    def count(self) -> int:
        """How many buckets the window has."""
        if self.end_time <= self.start_time:
            return 0
        return (self.end_time - 1) // self.width_s - self.start_time // self.width_s + 1

    def shown(self) -> list[tuple[int, int]]:
        """Start and end of this page's buckets: on UTC edges, the window's first and last cut to it."""
        first = self.start_time // self.width_s
        numbers = range(first + self.offset, first + min(self.offset + self.limit, self.count()))
        return [
            (max(number * self.width_s, self.start_time), min((number + 1) * self.width_s, self.end_time))
            for number in numbers
        ]

    @property
    def more(self) -> bool:
        """Whether buckets are left after this page."""
        return self.offset + self.limit < self.count()

    def cursor(self, offset: int) -> str:
        """The `next_page` that goes on from this bucket."""
        packed = json.dumps([self.digest, offset, self.end_time]).encode()
        return "page_" + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read(
    usage_endpoint: str, query: Sequence[tuple[str, str]], now: float, *, refuse_future_end: bool = False
) -> UsageQuery:
    """Read the query of one GET; raises `Refusal` with the service's 400."""
    limits = COSTS_LIMITS if usage_endpoint == "costs" else LIMITS
    start = _whole(query, "start_time")
    if start is None:
        raise Refusal(400, "Missing required parameter: 'start_time'.", code="invalid_request_error")
    width = _one(query, "bucket_width") or "1d"
    if width not in limits:
        raise _invalid("bucket_width", width, limits)
    default, most = limits[width]
    limit = _whole(query, "limit")
    if limit is not None and not 1 <= limit <= most:
        side = f"above maximum value. Expected a value <= {most}" if limit > most else "below minimum value: 1"
        raise Refusal(
            400,
            f"Invalid 'limit': integer {side}, but got {limit} instead (bucket_width={width} allows at most {most}).",
            param="limit",
            code="integer_above_max_value" if limit > most else "integer_below_min_value",
        )
    digest = _digest(usage_endpoint, query)
    page = _one(query, "page")
    offset, paged_end = _opened(page, digest) if page else (0, None)
    end = _whole(query, "end_time")
    if end is not None and end <= start:
        raise Refusal(400, "'end_time' must be after 'start_time'.", param="end_time", code="invalid_request_error")
    if end is not None and refuse_future_end and end > now:
        raise Refusal(400, "'end_time' must not be in the future.", param="end_time", code="invalid_request_error")
    if end is None:
        end = paged_end if paged_end is not None else max(int(now) + 1, start)
    allowed = DIMENSIONS[usage_endpoint]
    group_by = _all(query, "group_by")
    for name in group_by:
        if name not in allowed:
            raise _invalid("group_by", name, allowed)
    batch = _one(query, "batch")
    if batch not in (None, "true", "false"):
        raise _invalid("batch", str(batch), ("true", "false"))
    return UsageQuery(
        usage_endpoint=usage_endpoint,
        start_time=start,
        end_time=end,
        width_s=WIDTHS[width],
        limit=default if limit is None else limit,
        group_by=tuple(dict.fromkeys(group_by)),
        filters=tuple((FILTERS[name], values) for name in FILTERS if (values := _all(query, name))),
        batch=None if batch is None else batch == "true",
        offset=offset,
        digest=digest,
    )


def _all(query: Sequence[tuple[str, str]], name: str) -> tuple[str, ...]:
    """Every value of an array parameter, in either spelling."""
    return tuple(value for key, value in query if key in (name, f"{name}[]"))


def _one(query: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((value for key, value in reversed(query) if key == name), None)


def _whole(query: Sequence[tuple[str, str]], name: str) -> int | None:
    value = _one(query, name)
    if value is None:
        return None
    if not value.removeprefix("-").isdigit() or not value.isascii():
        raise Refusal(
            400,
            f"Invalid type for '{name}': expected an integer, but got '{value}' instead.",
            param=name,
            code="invalid_type",
        )
    return int(value)


def _invalid(name: str, value: str, allowed: Sequence[str] | dict[str, tuple[int, int]]) -> Refusal:
    listed = ", ".join(f"'{item}'" for item in allowed)
    message = f"Invalid value: '{value}'. Supported values are: {listed}."
    return Refusal(400, message, param=name, code="invalid_value")


def _digest(usage_endpoint: str, query: Sequence[tuple[str, str]]) -> str:
    kept = sorted((key.removesuffix("[]"), value) for key, value in query if key != "page")
    return hashlib.sha256(json.dumps([usage_endpoint, kept]).encode()).hexdigest()[:24]


def _opened(page: str, digest: str) -> tuple[int, int]:
    """The offset and the window's end in a cursor, which must be bound to this very question."""
    try:
        packed = page.removeprefix("page_")
        bound_to, offset, end = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (ValueError, binascii.Error):
        raise Refusal(400, "Invalid 'page': the cursor is malformed.", param="page", code="invalid_value") from None
    if bound_to != digest:
        message = "Invalid 'page': the cursor was made for a query with other parameters."
        raise Refusal(400, message, param="page", code="invalid_value")
    return int(offset), int(end)
