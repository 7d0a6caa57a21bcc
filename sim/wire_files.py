"""Files and vector stores on the wire: kept, listed and searched, never billed.

A vector store is done with a file at once, and finds the words of a question in it rather than its meaning.
"""

from __future__ import annotations

from .frame import Answer, Json, Refusal, Request, of_json
from .shelf import dropped, keep, missing, page, part, relabelled, taken
from .state import Kept, State
from .words import identifier

FILE = "file"
STORE = "vector_store"
BATCH = "vector_store.files_batch"
CHUNK_CHARACTERS = 800
RESULTS_DEFAULT = 10


def upload(state: State, request: Request) -> Answer:
    """POST /v1/files, a form."""
    if "file" not in request.files:
        raise Refusal(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    purpose = request.body.get("purpose")
    if not isinstance(purpose, str):
        raise Refusal(400, "Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
    given = request.files["file"]
    return of_json(make(state, request, given.name, given.content, purpose).body)


def make(state: State, request: Request, name: str, content: bytes, purpose: str) -> Kept:
    """A new file."""
    body = {
        "id": identifier(request.rng, "file-", 22),
        "object": "file",
        "bytes": len(content),
        "created_at": int(request.at),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
    return keep(state, FILE, Kept(body=body, content=content))


def files(state: State, request: Request) -> Answer:
    """GET /v1/files."""
    purpose = dict(request.query).get("purpose")
    listed = [kept.body for kept in state.shelves[FILE].values() if purpose in (None, kept.body["purpose"])]
    return page(listed, request)


def file(state: State, request: Request) -> Answer:
    """GET and DELETE /v1/files/{id}."""
    if request.method == "DELETE":
        return dropped(state, FILE, part(request, 1))
    return of_json(taken(state, FILE, part(request, 1)).body)


def content(state: State, request: Request) -> Answer:
    """GET /v1/files/{id}/content."""
    return Answer(content_type="application/octet-stream", body=taken(state, FILE, part(request, 1)).content)


def create(state: State, request: Request) -> Answer:
    """POST /v1/vector_stores."""
    body: Json = {
        "id": identifier(request.rng, "vs_", 32),
        "object": "vector_store",
        "created_at": int(request.at),
        "name": request.body.get("name"),
        "description": request.body.get("description"),
        "usage_bytes": 0,
        "file_counts": {},
        "status": "completed",
        "expires_after": request.body.get("expires_after"),
        "expires_at": None,
        "last_active_at": int(request.at),
        "metadata": request.body.get("metadata") or {},
    }
    store = Kept(body=body)
    for name in _names(request):
        _hold(state, store, request, name)
    _count(store)
    return of_json(keep(state, STORE, store).body)


def stores(state: State, request: Request) -> Answer:
    """GET /v1/vector_stores."""
    return page([kept.body for kept in state.shelves[STORE].values()], request)


def store(state: State, request: Request) -> Answer:
    """GET, POST and DELETE /v1/vector_stores/{id}."""
    kept = taken(state, STORE, part(request, 1))
    if request.method == "DELETE":
        return dropped(state, STORE, part(request, 1))
    return relabelled(kept, request, "name", "expires_after") if request.method == "POST" else of_json(kept.body)


def attach(state: State, request: Request) -> Answer:
    """POST /v1/vector_stores/{id}/files."""
    kept = taken(state, STORE, part(request, 1))
    name = request.body.get("file_id")
    if not isinstance(name, str):
        raise Refusal(400, "Missing required parameter: 'file_id'.", param="file_id", code="missing_required_parameter")
    held = _hold(state, kept, request, name)
    _count(kept)
    return of_json(held)


def attached(state: State, request: Request) -> Answer:
    """GET /v1/vector_stores/{id}/files, and those of a batch."""
    return page(taken(state, STORE, part(request, 1)).items, request)


def attached_one(state: State, request: Request) -> Answer:
    """GET, POST and DELETE /v1/vector_stores/{id}/files/{file}."""
    kept = taken(state, STORE, part(request, 1))
    found = next((item for item in kept.items if item["id"] == part(request, 3)), None)
    if found is None:
        raise missing(FILE, part(request, 3))
    if request.method == "DELETE":
        kept.items.remove(found)
        _count(kept)
        return of_json({"id": found["id"], "object": "vector_store.file.deleted", "deleted": True})
    if request.method == "POST" and "attributes" in request.body:
        found["attributes"] = request.body["attributes"]
    return of_json(found)


def attach_many(state: State, request: Request) -> Answer:
    """POST /v1/vector_stores/{id}/file_batches: done at once."""
    kept = taken(state, STORE, part(request, 1))
    names = _names(request)
    if not names:
        message = "Missing required parameter: 'file_ids'."
        raise Refusal(400, message, param="file_ids", code="missing_required_parameter")
    for name in names:
        _hold(state, kept, request, name)
    _count(kept)
    body = {
        "id": identifier(request.rng, "vsfb_", 32),
        "object": BATCH,
        "created_at": int(request.at),
        "status": "completed",
        "vector_store_id": kept.body["id"],
        "file_counts": _counts(len(names)),
    }
    return of_json(keep(state, BATCH, Kept(body=body)).body)


def file_batch(state: State, request: Request) -> Answer:
    """GET /v1/vector_stores/{id}/file_batches/{batch}; it was done before it could be cancelled."""
    return of_json(taken(state, BATCH, part(request, 3)).body)


def search(state: State, request: Request) -> Answer:
    """POST /v1/vector_stores/{id}/search: the pieces of its files that share most words with the question."""
    kept = taken(state, STORE, part(request, 1))
    query = request.body.get("query")
    if not query or not isinstance(query, (str, list)):
        raise Refusal(400, "Missing required parameter: 'query'.", param="query", code="missing_required_parameter")
    words = set(" ".join(map(str, query)).split() if isinstance(query, list) else query.split())
    found: list[tuple[float, Json, str]] = []
    for held in kept.items:
        file_ = state.shelves[FILE].get(held["id"])
        text = file_.content.decode("utf-8", "replace") if file_ is not None else ""
        for at in range(0, len(text), CHUNK_CHARACTERS):
            piece = text[at : at + CHUNK_CHARACTERS]
            score = len(words & set(piece.split())) / len(words) if words else 0.0
            found.append((score, held, piece))
    most = request.body.get("max_num_results")
    number = most if isinstance(most, int) and 1 <= most <= 50 else RESULTS_DEFAULT
    best = sorted(found, key=lambda one: -one[0])[:number]
    data = [
        {
            "file_id": held["id"],
            "filename": _filename(state, held["id"]),
            "score": round(score, 4),
            "attributes": held["attributes"],
            "content": [{"type": "text", "text": piece}],
        }
        for score, held, piece in best
    ]
    shown = query if isinstance(query, list) else [query]
    page_ = {"object": "vector_store.search_results.page", "search_query": shown, "data": data}
    return of_json({**page_, "has_more": False, "next_page": None})


def _filename(state: State, name: str) -> str:
    kept = state.shelves[FILE].get(name)
    return str(kept.body["filename"]) if kept is not None else ""


def _names(request: Request) -> list[str]:
    given = request.body.get("file_ids")
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def _hold(state: State, store: Kept, request: Request, name: str) -> Json:
    kept = taken(state, FILE, name)
    held = {
        "id": name,
        "object": "vector_store.file",
        "created_at": int(request.at),
        "vector_store_id": store.body["id"],
        "status": "completed",
        "last_error": None,
        "usage_bytes": len(kept.content),
        "attributes": request.body.get("attributes") or {},
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
    }
    store.items[:] = [item for item in store.items if item["id"] != name]
    store.items.append(held)
    return held


def _count(store: Kept) -> None:
    store.body["usage_bytes"] = sum(item["usage_bytes"] for item in store.items)
    store.body["file_counts"] = _counts(len(store.items))


def _counts(number: int) -> Json:
    return {"in_progress": 0, "completed": number, "failed": 0, "cancelled": 0, "total": number}
