"""The organization Usage API over the books: pages of buckets, with the reporting lag of the real one.

It sees only lines that are visible by the given clock. Field names, identities and null dimensions follow the
OpenAPI document of 2026-08-21; it decides nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from .books import Entry, Line
from .counts import Counts
from .frame import Answer, Json, Refusal, Request, of_json
from .state import State
from .usage_query import DIMENSIONS, UsageQuery, read

OBJECTS = {"file_search_calls": "file_searches", "web_search_calls": "web_searches"}
"""Result objects whose name is not their path's."""
PRICES = {"input": 2.5e-06, "cached input": 1.25e-06, "output": 1.0e-05, "images": 0.04}
"""Dollars per unit, made up; costs need not reconcile with usage."""


def usage(state: State, request: Request) -> Answer:
    """GET /v1/organization/usage/{endpoint}."""
    name = request.path.rsplit("/", 1)[-1]
    if name not in DIMENSIONS or name == "costs":
        raise Refusal(404, f"Invalid URL (GET {request.path})")
    now = state.now()
    query = read(name, request.query, now, refuse_future_end=state.settings.refuse_future_end)
    return of_json(page(query, state.books.billed(at=now), empty_buckets=state.settings.empty_buckets))


def costs(state: State, request: Request) -> Answer:
    """GET /v1/organization/costs: days of dollars, made up from the same lines."""
    now = state.now()
    query = read("costs", request.query, now)
    lines = [(entry, line) for entry, line in state.books.billed(at=now) if _passes(query, entry)]
    data = []
    for start, end in query.shown():
        sums: dict[tuple[str | None, ...], float] = {}
        for entry, line in lines:
            if start <= line.billed_at < end:
                for item, dollars in _priced(entry, line):
                    where = {"project_id": entry.project_id, "api_key_id": entry.api_key_id, "line_item": item}
                    group = tuple(where[name] if name in query.group_by else None for name in DIMENSIONS["costs"])
                    sums[group] = sums.get(group, 0.0) + dollars
        rows = [
            {
                "object": "organization.costs.result",
                "amount": {"value": dollars, "currency": "usd"},
                **dict(zip(DIMENSIONS["costs"], group, strict=True)),
            }
            for group, dollars in sums.items()
        ]
        data.append({"object": "bucket", "start_time": start, "end_time": end, "results": rows})
    return of_json(_page(query, data))


def page(query: UsageQuery, billed: Iterable[tuple[Entry, Line]], *, empty_buckets: bool) -> Json:
    """One page: the query's next buckets, rows summed by the groups asked for."""
    shown = query.shown()
    if not shown:
        return _page(query, [])
    sums: dict[int, dict[tuple[object, ...], Counts]] = {start: {} for start, _ in shown}
    for entry, line in billed:
        if line.usage_endpoint == query.usage_endpoint and shown[0][0] <= line.billed_at < shown[-1][1]:
            if not _passes(query, entry):
                continue
            start = max(line.billed_at // query.width_s * query.width_s, query.start_time)
            group = tuple(getattr(entry, name, None) for name in query.group_by)
            rows = sums[start]
            rows[group] = rows.get(group, Counts()) + line.counts
    data = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": end,
            "results": [row(query, group, counts) for group, counts in _sorted(sums[start]) if counts],
        }
        for start, end in shown
    ]
    if not empty_buckets:
        data = [bucket for bucket in data if bucket["results"]]
    return _page(query, data)


def row(query: UsageQuery, group: tuple[object, ...], counts: Counts) -> Json:
    """One result: the endpoint's counts, every dimension, null where it was not asked for."""
    name = query.usage_endpoint
    dimensions = {**dict.fromkeys(DIMENSIONS[name]), **dict(zip(query.group_by, group, strict=True))}
    if name not in ("vector_stores", "code_interpreter_sessions"):
        dimensions.setdefault("user_id", None)
    return {"object": f"organization.usage.{OBJECTS.get(name, name)}.result", **_fields(name, counts), **dimensions}


def _fields(name: str, counts: Counts) -> Json:
    match name:
        case "completions" | "decisions":
            return {
                "input_tokens": counts.input_tokens,
                "output_tokens": counts.output_tokens,
                "num_model_requests": counts.requests,
                "input_cached_tokens": counts.cached_tokens,
                "input_cache_write_tokens": counts.cache_write,
                "input_uncached_tokens": counts.uncached_tokens,
                "input_text_tokens": counts.input_text,
                "input_audio_tokens": counts.input_audio,
                "input_image_tokens": counts.input_image,
                "input_cached_text_tokens": counts.cached_text,
                "input_cached_audio_tokens": counts.cached_audio,
                "input_cached_image_tokens": counts.cached_image,
                "output_text_tokens": counts.output_text,
                "output_audio_tokens": counts.output_audio,
                "output_image_tokens": counts.output_image,
            }
        case "embeddings" | "moderations":
            return {"input_tokens": counts.input_tokens, "num_model_requests": counts.requests}
        case "images":
            return {"images": counts.images, "num_model_requests": counts.requests}
        case "audio_speeches":
            return {"characters": counts.characters, "num_model_requests": counts.requests}
        case "audio_transcriptions":
            return {"seconds": counts.seconds, "num_model_requests": counts.requests}
        case "web_search_calls":
            return {"num_model_requests": counts.requests, "num_requests": counts.tool_calls}
        case "file_search_calls":
            return {"num_requests": counts.tool_calls}
        case "code_interpreter_sessions":
            return {"num_sessions": counts.tool_calls}
        case _:
            return {"usage_bytes": 0}


def _passes(query: UsageQuery, entry: Entry) -> bool:
    if query.batch is not None and entry.batch is not query.batch:
        return False
    return all(getattr(entry, name, None) in values for name, values in query.filters if name != "line_item")


def _sorted(rows: dict[tuple[object, ...], Counts]) -> list[tuple[tuple[object, ...], Counts]]:
    return sorted(rows.items(), key=lambda item: [str(value) for value in item[0]])


def _page(query: UsageQuery, data: list[Json]) -> Json:
    next_page = query.cursor(query.offset + query.limit) if query.more else None
    return {"object": "page", "data": data, "has_more": query.more, "next_page": next_page}


def _priced(entry: Entry, line: Line) -> list[tuple[str, float]]:
    counts = line.counts
    units = {
        "input": counts.input_tokens - counts.cached_tokens,
        "cached input": counts.cached_tokens,
        "output": counts.output_tokens,
        "images": counts.images,
    }
    return [(f"{entry.model}, {name}", units[name] * PRICES[name]) for name in PRICES if units[name]]
