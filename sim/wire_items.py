"""Items on the wire: what a response was asked, and conversations, which are lists of items with a name.

An item that a client sends gets an id and is otherwise kept as it came. Nothing here is billed.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from .frame import Answer, Json, Refusal, Request, of_json
from .shelf import dropped, keep, missing, page, part, relabelled, taken
from .state import Kept, State
from .words import chance, hexadecimal

CONVERSATION = "conversation"
PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "function_call_output": "fco_"}


def items_of(given: Any, rng: Random) -> list[Json]:
    """The items of an `input`: a string is a message of the user."""
    listed = given if isinstance(given, list) else [] if given is None else [{"role": "user", "content": given}]
    return [_item(one, rng) for one in listed if isinstance(one, dict)]


def _item(given: Json, rng: Random) -> Json:
    kind = given.get("type") or "message"
    name = given.get("id") or hexadecimal(rng, PREFIXES.get(str(kind), "item_"), 48)
    item = {"id": name, "type": kind, "status": "completed", **{k: v for k, v in given.items() if v is not None}}
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        written = "output_text" if item.get("role") == "assistant" else "input_text"
        more: Json = {"annotations": [], "logprobs": []} if written == "output_text" else {}
        item["content"] = [{"type": written, "text": content, **more}]
    return item


def input_items(state: State, request: Request) -> Answer:
    """GET /v1/responses/{id}/input_items."""
    name = part(request, 1)
    stored = state.responses.get(name)
    if stored is None:
        raise Refusal(404, f"Response with id '{name}' not found.", param="id")
    return page(stored.items, request)


def conversation_of(state: State, request: Request) -> Kept | None:
    """The conversation that a response belongs to; None where it belongs to none."""
    given = request.body.get("conversation")
    if given is None:
        return None
    if request.body.get("previous_response_id") is not None:
        message = "Mutually exclusive parameters: use either 'conversation' or 'previous_response_id'."
        raise Refusal(400, message, param="previous_response_id", code="mutually_exclusive_parameters")
    name = given.get("id") if isinstance(given, dict) else given
    kept = state.shelves[CONVERSATION].get(name) if isinstance(name, str) else None
    if kept is None:
        raise Refusal(404, f"Conversation with id '{name}' not found.", param="conversation")
    return kept


def create(state: State, request: Request) -> Answer:
    """POST /v1/conversations."""
    name = hexadecimal(request.rng, "conv_", 48)
    body = {
        "id": name,
        "object": "conversation",
        "created_at": int(request.at),
        "metadata": request.body.get("metadata") or {},
    }
    items = items_of(request.body.get("items"), chance("items", name))
    return of_json(keep(state, CONVERSATION, Kept(body=body, items=items)).body)


def retrieve(state: State, request: Request) -> Answer:
    """GET /v1/conversations/{id}; POST changes its metadata, DELETE ends it."""
    kept = taken(state, CONVERSATION, part(request, 1))
    if request.method == "DELETE":
        return dropped(state, CONVERSATION, part(request, 1))
    return relabelled(kept, request) if request.method == "POST" else of_json(kept.body)


def add(state: State, request: Request) -> Answer:
    """POST /v1/conversations/{id}/items."""
    kept = taken(state, CONVERSATION, part(request, 1))
    given = request.body.get("items")
    if not isinstance(given, list) or not given:
        raise Refusal(400, "Missing required parameter: 'items'.", param="items", code="missing_required_parameter")
    added = items_of(given, chance("items", part(request, 1), len(kept.items)))
    kept.items.extend(added)
    return _list(added)


def listing(state: State, request: Request) -> Answer:
    """GET /v1/conversations/{id}/items."""
    return page(taken(state, CONVERSATION, part(request, 1)).items, request)


def one_item(state: State, request: Request) -> Answer:
    """GET /v1/conversations/{id}/items/{item}; DELETE takes it out and shows the conversation."""
    kept = taken(state, CONVERSATION, part(request, 1))
    found = next((item for item in kept.items if item["id"] == part(request, 3)), None)
    if found is None:
        raise missing("item", part(request, 3))
    if request.method == "DELETE":
        kept.items.remove(found)
        return of_json(kept.body)
    return of_json(found)


def _list(items: Sequence[Json]) -> Answer:
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return of_json({"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": False})
