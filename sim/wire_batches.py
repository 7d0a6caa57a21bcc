"""Batches on the wire: the lines of a file asked as requests, done after a while, billed as batch work.

Each line is a call in the books of its own, completed when the batch is. The answers are in a file, the usage of all
of them in the batch itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import wire_chat, wire_files, wire_legacy, wire_responses, wire_vectors
from .frame import Answer, Json, Refusal, Request, of_json
from .shelf import keep, page, part, taken
from .state import Kept, State
from .words import chance, hexadecimal

BATCH = "batch"
LINES_MAX = 50_000
ENDPOINTS: dict[str, Callable[[State, Request], Answer]] = {
    "/v1/chat/completions": wire_chat.create,
    "/v1/completions": wire_legacy.create,
    "/v1/embeddings": wire_vectors.embed,
    "/v1/moderations": wire_vectors.moderate,
    "/v1/responses": wire_responses.create,
}


def create(state: State, request: Request) -> Answer:
    """POST /v1/batches."""
    endpoint = request.body.get("endpoint")
    if not isinstance(endpoint, str) or endpoint not in ENDPOINTS:
        message = f"Invalid value for 'endpoint': expected one of {', '.join(ENDPOINTS)}, got {endpoint!r}."
        raise Refusal(400, message, param="endpoint")
    if request.body.get("completion_window") != "24h":
        raise Refusal(400, "Invalid value for 'completion_window': expected '24h'.", param="completion_window")
    given = request.body.get("input_file_id")
    file = state.shelves[wire_files.FILE].get(given) if isinstance(given, str) else None
    if file is None:
        raise Refusal(400, f"No such File object: {given}", param="input_file_id")
    name = hexadecimal(request.rng, "batch_", 32)
    ready_at = request.at + state.settings.background_s
    lines = [line for line in file.content.decode("utf-8", "replace").splitlines() if line.strip()][:LINES_MAX]
    done = [_line(state, request, endpoint, name, number, line, ready_at) for number, line in enumerate(lines)]
    entries = tuple(entry for _, entry in done if entry is not None)
    well = [told for told, _ in done if told["response"]["status_code"] == 200]
    ill = [told for told, _ in done if told["response"]["status_code"] != 200]
    body: Json = {
        "id": name,
        "object": "batch",
        "endpoint": endpoint,
        "model": next((told["response"]["body"].get("model") for told in well), None),
        "errors": None,
        "input_file_id": given,
        "completion_window": "24h",
        "status": "completed",
        "output_file_id": _written(state, request, name, "output", well),
        "error_file_id": _written(state, request, name, "error", ill),
        "created_at": int(request.at),
        "in_progress_at": int(request.at),
        "expires_at": int(request.at) + 86_400,
        "finalizing_at": int(ready_at),
        "completed_at": int(ready_at),
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": len(done), "completed": len(well), "failed": len(ill)},
        "usage": _usage(well),
        "metadata": request.body.get("metadata"),
    }
    kept = keep(state, BATCH, Kept(body=body, entries=entries, ready_at=ready_at))
    return of_json(_now(kept, request.at))


def listing(state: State, request: Request) -> Answer:
    """GET /v1/batches."""
    return page([_now(kept, state.now()) for kept in state.shelves[BATCH].values()], request)


def retrieve(state: State, request: Request) -> Answer:
    """GET /v1/batches/{id}."""
    return of_json(_now(taken(state, BATCH, part(request, 1)), state.now()))


def cancel(state: State, request: Request) -> Answer:
    """POST /v1/batches/{id}/cancel: what is not done is not billed."""
    kept, now = taken(state, BATCH, part(request, 1)), state.now()
    if now >= kept.ready_at or kept.body["status"] == "cancelled":
        raise Refusal(409, f"Cannot cancel a batch with status '{_now(kept, now)['status']}'.")
    for entry in kept.entries:
        state.books.cancel(entry, now)
    total = kept.body["request_counts"]["total"]
    kept.body |= {"status": "cancelled", "cancelling_at": int(now), "cancelled_at": int(now), "completed_at": None}
    kept.body |= {"request_counts": {"total": total, "completed": 0, "failed": 0}, "usage": _usage([])}
    kept.body |= {"output_file_id": None, "error_file_id": None, "finalizing_at": None}
    return of_json(kept.body)


def _now(kept: Kept, now: float) -> Json:
    """The batch as it is at an instant: nothing of its results before it is done."""
    if now >= kept.ready_at or kept.body["status"] == "cancelled":
        return kept.body
    early = dict.fromkeys(("output_file_id", "error_file_id", "finalizing_at", "completed_at"), None)
    counts = {"total": kept.body["request_counts"]["total"], "completed": 0, "failed": 0}
    status = "validating" if now <= kept.body["created_at"] + 1 else "in_progress"
    return {**kept.body, **early, "status": status, "request_counts": counts, "usage": _usage([])}


def _line(
    state: State, request: Request, endpoint: str, batch: str, number: int, line: str, ready_at: float
) -> tuple[Json, int | None]:
    """One line asked: what its answer's line says, and its entry in the books."""
    request_id = state.next_request_id()
    given: Any = None
    try:
        given = json.loads(line)
        if not isinstance(given, dict) or not isinstance(given.get("body"), dict) or given.get("url") != endpoint:
            raise Refusal(400, f"Line {number + 1}: expected 'custom_id', 'method', 'url' {endpoint} and a 'body'.")
        body = {**given["body"], "stream": False, "background": False}
        asked = replace(
            request,
            path=endpoint,
            body=body,
            raw=line.encode(),
            request_id=request_id,
            rng=chance(state.settings.seed, batch, number, line),
            echo=state.repetition(endpoint, line.encode()),
            batch=True,
        )
        answer = ENDPOINTS[endpoint](state, asked)
    except ValueError:
        answer = Refusal(400, f"Line {number + 1}: this is not JSON.").answer()
    except Refusal as refused:
        answer = refused.answer()
    if answer.entry is not None:
        state.books.complete(answer.entry, ready_at)
    told = {
        "id": hexadecimal(chance("line", batch, number), "batch_req_", 32),
        "custom_id": given.get("custom_id") if isinstance(given, dict) else None,
        "response": {"status_code": answer.status, "request_id": request_id, "body": answer.payload},
        "error": None,
    }
    return told, answer.entry


def _written(state: State, request: Request, batch: str, what: str, lines: list[Json]) -> str | None:
    if not lines:
        return None
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "surrogatepass")
    kept = wire_files.make(state, request, f"{batch}_{what}.jsonl", content, "batch_output")
    return str(kept.body["id"])


def _usage(lines: list[Json]) -> Json:
    total: Counter[str] = Counter()
    for line in lines:
        usage = line["response"]["body"].get("usage") or {}
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        hidden = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
        total["input"] += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        total["output"] += usage.get("completion_tokens", usage.get("output_tokens", 0))
        total["cached"] += details.get("cached_tokens", 0)
        total["reasoning"] += hidden.get("reasoning_tokens", 0)
    return {
        "input_tokens": total["input"],
        "input_tokens_details": {"cached_tokens": total["cached"]},
        "output_tokens": total["output"],
        "output_tokens_details": {"reasoning_tokens": total["reasoning"]},
        "total_tokens": total["input"] + total["output"],
    }
