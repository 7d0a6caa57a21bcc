"""Which `key_...` id an API key has: by the two ends that the projects API shows of it, else by a canary's tokens.

    list_project_keys(client)          # every key of every project, where the admin key may list them
    decide(ends)                       # whose ends fit one key alone, and are claimed by one alone
    sight_canary(client, call, ...)    # under which id the Usage API shows a call that was made for this

No id is ever guessed: what fits two is said to fit two. Never here: a secret; whether one shows certain ends is asked
elsewhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.clock import US_PER_MINUTE, minute_floor
from ..data.usage_pages import BadRead, Problem, UsageEndpoint, read_object
from .usage_api import Query, UsageApi

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
    model: str
    """As the response named it, which is how it is billed."""
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Under which ids the Usage API shows a canary, or may."""

    api_key_ids: tuple[str, ...] = ()
    """Those with one request in a minute, of exactly its model and tokens."""
    without_id: bool = False
    """Such a one is shown under no id: the key is older than the tracking of keys (docs/openai-usage.md C.4)."""
    merged: tuple[str | None, ...] = ()
    """Others in whose rows it may be summed up with other calls; None: those without an id."""


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
        page = read_object(client.get(path, [*query, ("after", after)] if after else query))
        data, has_more = page.get("data"), page.get("has_more")
        if not isinstance(has_more, bool):
            raise BadRead(Problem.NOT_A_PAGE, f"{path} does not say whether there is more.")
        if not isinstance(data, list) or not all(isinstance(one, dict) and _is_id(one.get("id")) for one in data):
            raise BadRead(Problem.NOT_A_PAGE, f"{path} answered something that is not a list of objects with ids.")
        objects += data
        if not has_more:
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


def check_readable(client: UsageApi, *, now_us: int) -> None:
    """Read one minute of the past. Raises `BadRead` where no canary could be looked for."""
    end_us = minute_floor(now_us) - US_PER_MINUTE
    client.read_all_keys(UsageEndpoint.COMPLETIONS, window_start=end_us - US_PER_MINUTE, window_end=end_us)


def sight_canary(
    client: UsageApi,
    call: CanaryCall,
    *,
    now_us: int,
    among: Collection[str] = (),
    others: Collection[str] = (),
) -> Sighting:
    """Look for a canary in the bill of all keys, in its own minutes. Raises `BadRead` where that cannot be read.

    `among`: the only ids that it can have, where that is known; `others`: ids that are known to be of other keys. A
    row of one request is that request and no other; a row of more may be the sum of the canary and of others, and
    while there is such a row of another id, an equal single request may as well be a neighbour's.
    """
    start_us = minute_floor(call.started_us) - US_PER_MINUTE
    end_us = min(minute_floor(now_us), minute_floor(call.ended_us) + (1 + AFTER_MIN) * US_PER_MINUTE)
    if end_us <= start_us:
        return Sighting()
    wanted = (call.input_tokens, call.output_tokens)
    seen: set[str | None] = set()
    merged: set[str | None] = set()
    sums: dict[str | None, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in client.read_all_keys(UsageEndpoint.COMPLETIONS, window_start=start_us, window_end=end_us):
        key = row.api_key_id
        if row.model != call.model or key in others or (among and key is not None and key not in among):
            continue
        counts = (row.input_tokens or 0, row.output_tokens or 0)  # never None: the strict reader asks for both
        if row.num_model_requests == 1 and counts == wanted:
            seen.add(key)
        elif row.num_model_requests != 1 and _may_hold(counts, wanted):
            merged.add(key)
        sums[key] = (sums[key][0] + counts[0], sums[key][1] + counts[1])
    # A call may be billed in two minutes: then its parts together are what it used.
    merged |= {key for key, counts in sums.items() if counts == wanted}
    return Sighting(
        api_key_ids=tuple(sorted(key for key in seen if key is not None)),
        without_id=None in seen,
        merged=tuple(sorted(merged - seen, key=lambda key: key or "")),
    )


def _may_hold(counts: tuple[int, int], wanted: tuple[int, int]) -> bool:
    return counts[0] >= wanted[0] and counts[1] >= wanted[1]


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.replace("_", "").replace("-", "").isalnum()
