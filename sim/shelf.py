"""Objects that clients make, list, read, change and delete, and that cost nothing: one way for all kinds of them.

Ids, pages and refusals as the service has them. What an object means is its own module's.
"""

from __future__ import annotations

from collections.abc import Sequence

from .frame import Answer, Json, Refusal, Request, of_json
from .state import KEPT_MAX, Kept, State

PAGE_DEFAULT = 20
PAGE_MAX = 100


def keep(state: State, kind: str, kept: Kept) -> Kept:
    """Put an object on its shelf; the oldest goes where there are too many."""
    shelf = state.shelves[kind]
    shelf[kept.body["id"]] = kept
    while len(shelf) > KEPT_MAX:
        shelf.popitem(last=False)
    return kept


def taken(state: State, kind: str, name: str) -> Kept:
    """The object with this id; refused with 404 where there is none."""
    kept = state.shelves[kind].get(name)
    if kept is None:
        raise missing(kind, name)
    return kept


def missing(kind: str, name: str) -> Refusal:
    """The refusal for an id that is not there."""
    return Refusal(404, f"No such {kind.capitalize()} object: {name}", param="id")


def dropped(state: State, kind: str, name: str) -> Answer:
    """Delete an object."""
    shown = taken(state, kind, name).body["object"]
    del state.shelves[kind][name]
    return of_json({"id": name, "object": f"{shown}.deleted" if shown != "file" else "file", "deleted": True})


def relabelled(kept: Kept, request: Request, *names: str) -> Answer:
    """Change what may be changed of an object: its metadata, and these."""
    for name in ("metadata", *names):
        if name in request.body:
            kept.body[name] = request.body[name]
    return of_json(kept.body)


def part(request: Request, number: int) -> str:
    """A part of the path, `/v1` not counted: 0 is the kind of object, 1 its id."""
    return request.path.split("/")[2 + number]


def page(objects: Sequence[Json], request: Request, *, newest_first: bool = True) -> Answer:
    """A page of a list, as `limit`, `order`, `after` and `before` of the query want it."""
    query = dict(request.query)
    given = query.get("limit", str(PAGE_DEFAULT))
    if not given.isdecimal() or not given.isascii() or not 1 <= int(given) <= 10_000:
        raise Refusal(400, f"Invalid 'limit': expected a whole number from 1 to {PAGE_MAX}.", param="limit")
    backwards = query.get("order", "desc" if newest_first else "asc") == "desc"
    listed = list(reversed(objects)) if backwards else list(objects)
    ids = [one["id"] for one in listed]
    after, before = query.get("after"), query.get("before")
    first = ids.index(after) + 1 if after in ids else 0
    last = ids.index(before) if before in ids else len(listed)
    shown = listed[first:last][: int(given)]
    return of_json(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": first + len(shown) < last,
        }
    )
