"""Which `key_...` id an API key has: by the two ends that the projects API shows of it, else by a canary's tokens.

    list_project_keys(client)          # every key of every project, where the admin key may list them
    decide(ends)                       # whose ends fit one key alone, and are claimed by one alone
    sight_canary(client, call, ...)    # under which id the Usage API shows a call that was made for this

No id is ever guessed: what fits two is said to fit two. Never here: a secret; whether one shows certain ends is asked
elsewhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..data.clock import US_PER_MINUTE, US_PER_S, minute_floor
from .bucket import BadRead, Problem
from .usage_api import LIMIT, Query, UsageApi

LISTED = 100
"""Objects on one page of a list, the most there are (OpenAPI document of 2026-08-21)."""
PAGES_MAX = 1_000
AFTER_MIN = 6
"""Minutes after its own in which a canary may be billed: as late as an audit assumes of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKey:
    """One API key as the projects API lists it."""

    api_key_id: str
    redacted_value: str
    """Its two ends, such as `sk-proj-abcd****wxyz`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryCall:
    """One canary call as it was metered. Times are microseconds UTC."""

    started_us: int
    ended_us: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Under which ids the Usage API shows exactly a canary's tokens."""

    api_key_ids: tuple[str, ...] = ()
    without_id: bool = False
    """They are shown under no id: the key is older than the tracking of keys (openai-usage.md C.4)."""


def list_project_keys(client: UsageApi) -> tuple[ProjectKey, ...]:
    """Every API key of every project. Raises `BadRead` where they cannot all be listed."""
    found: dict[str, ProjectKey] = {}
    for project in _listed(client, "/organization/projects"):
        for each in _listed(client, f"/organization/projects/{project['id']}/api_keys"):
            redacted = each.get("redacted_value")
            if isinstance(redacted, str):
                found[each["id"]] = ProjectKey(api_key_id=each["id"], redacted_value=redacted)
    return tuple(found.values())


def _listed(client: UsageApi, path: str) -> list[dict[str, Any]]:
    """All objects of a list, page by page: `limit`, `after`, `has_more`, `last_id`."""
    objects: list[dict[str, Any]] = []
    seen: set[str] = set()
    after: str | None = None
    for _ in range(PAGES_MAX):
        query: Query = [("limit", LISTED)]
        page = _object(client.get(path, [*query, ("after", after)] if after else query))
        data = page.get("data")
        if not isinstance(data, list) or not all(isinstance(one, dict) and _is_id(one.get("id")) for one in data):
            raise BadRead(Problem.NOT_A_PAGE, f"{path} answered something that is not a list of objects with ids.")
        objects += data
        if not page.get("has_more"):
            return objects
        after = data[-1]["id"] if data else None
        if after is None:
            raise BadRead(Problem.CURSOR_MISSING, f"{path} says there is more, after a page with nothing on it.")
        if after in seen:
            raise BadRead(Problem.CURSOR_REPEATED, f"{path} gave a page that was given before.")
        seen.add(after)
    raise BadRead(Problem.TOO_MANY_PAGES, f"{path} has more than {PAGES_MAX} pages.")


def decide(ends: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The id of each key, from the ids whose shown ends fit it; None where none fits, or not one alone.

    `ends`: any name of a key (its fingerprint) to ids. An id that fits two of the names is neither's.
    """
    claimed = Counter(api_key_id for ids in ends.values() for api_key_id in set(ids))
    return {
        name: ids[0] if len(set(ids)) == 1 and claimed[ids[0]] == 1 else None
        for name, ids in ((name, list(dict.fromkeys(ids))) for name, ids in ends.items())
    }


def sight_canary(client: UsageApi, call: CanaryCall, *, now_us: int) -> Sighting:
    """Look for a canary in the bill of all keys, in its own minutes. Raises `BadRead` where that cannot be read."""
    start_us = minute_floor(call.started_us) - US_PER_MINUTE
    end_us = min(minute_floor(now_us), minute_floor(call.ended_us) + (1 + AFTER_MIN) * US_PER_MINUTE)
    if end_us <= start_us:
        return Sighting()
    query: Query = [
        ("start_time", start_us // US_PER_S),
        ("end_time", end_us // US_PER_S),
        ("bucket_width", "1m"),
        ("limit", LIMIT),
        ("group_by[]", "api_key_id"),
        ("group_by[]", "model"),
    ]
    page = _object(client.get("/organization/usage/completions", query))
    data = page.get("data")
    if not isinstance(data, list) or page.get("has_more"):
        raise BadRead(Problem.NOT_A_PAGE, "The Usage API did not give these few minutes on one page.")
    wanted = (call.input_tokens, call.output_tokens)
    rows = [(result.get("api_key_id"), result.get("model"), _counts(result)) for result in _results(data)]
    # A call may be billed in two minutes: then its parts together are what it used.
    sums: dict[tuple[str | None, str | None], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for key, model, (given, written) in rows:
        before = sums[key, model]
        sums[key, model] = (before[0] + given, before[1] + written)
    shown = {key for key, _, counts in rows if counts == wanted}
    shown |= {key for (key, _), counts in sums.items() if counts == wanted}
    return Sighting(api_key_ids=tuple(sorted(key for key in shown if key is not None)), without_id=None in shown)


def _results(data: list[Any]) -> list[dict[str, Any]]:
    found = []
    for bucket in data:
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise BadRead(Problem.NOT_A_PAGE, "A bucket has no list `results`.")
        found += results
    return found


def _counts(result: dict[str, Any]) -> tuple[int, int]:
    counts = [result.get(name) for name in ("input_tokens", "output_tokens")]
    given, written = counts
    if not isinstance(given, int) or not isinstance(written, int):
        raise BadRead(Problem.COUNT_NOT_WHOLE, "A result has no whole numbers of tokens.")
    return given, written


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.replace("_", "").replace("-", "").isalnum()


def _object(body: bytes) -> dict[str, Any]:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRead(Problem.NOT_JSON, f"The answer is not JSON: {error}.") from None
    if not isinstance(page, dict):
        raise BadRead(Problem.NOT_A_PAGE, "The answer is JSON, but not an object.")
    return page
