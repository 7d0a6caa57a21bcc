"""Responses on the wire: made, in the background too, read again, cancelled, deleted; and input token counts.

Counts are decided and in the books before an answer is built. How a response looks is in `response_body`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from .frame import Answer, Json, Refusal, Request, of_frames, of_json
from .models import Kind
from .response_body import completed, echo_of, events, snapshot, usage_of
from .state import State, Stored
from .talk import Talk, limit_of, model_of, talk, tier_of
from .wanted import of_response
from .wire_items import conversation_of, items_of
from .words import chance, hexadecimal, weight

WEB_SEARCH = ("web_search", "web_search_preview", "web_search_2025_08_26")


def create(state: State, request: Request) -> Answer:
    """POST /v1/responses."""
    if request.body.get("background") is True and request.body.get("store") is False:
        raise Refusal(400, "Background mode requires store=true.", param="background")
    body, said, entry_number = decide(state, request)
    background = request.body.get("background") is True
    frames = events(body, said, background=background, padded=_padded(state, request))
    ready_at = request.at + (state.settings.background_s if background else 0.0)
    if request.body.get("store") is not False:
        stored = Stored(
            body=body,
            frames=tuple(frames),
            items=tuple(items_of(request.body.get("input"), chance("input", body["id"]))),
            entry=entry_number,
            started_at=request.at,
            ready_at=ready_at,
        )
        state.store(state.responses, body["id"], stored)
    if background and not request.streamed:
        # Its lines are posted at once, with the instant at which it will be done: nobody has to ask for it.
        state.books.complete(entry_number, ready_at)
        return of_json(snapshot(body, "queued"))
    if request.streamed:
        return of_frames(frames, entry=entry_number)
    return of_json(body, entry=entry_number)


def decide(state: State, request: Request, also: Container[str] = ()) -> tuple[Json, Talk, int]:
    """The completed response object, what was said, and the number of its entry.

    `also` are the responses that it may follow besides the stored ones: those of the same socket.
    """
    model = model_of(request, Kind.CHAT, status=400)
    echoed = echo_of(request)
    before = _before(state, request, also)
    conversation = conversation_of(state, request)
    known = conversation.items if conversation is not None else before
    prompt = [request.body.get("input"), request.body.get("instructions"), request.body.get("tools"), known]
    wanted = of_response(state, request)
    said = talk(
        request.rng,
        model,
        prompt,
        choices=1,
        output_max=limit_of(request, "max_output_tokens"),
        words_max=state.settings.words_max,
        echo=request.echo,
        wanted=wanted,
    )
    tier = tier_of(request)
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="completions",
        counts=said.counts,
        response_id=hexadecimal(request.rng, "resp_", 50),
        service_tier=tier,
        background=request.body.get("background") is True,
    )
    searches = request.rng.randint(1, 3) if _searches(request) and not wanted.told else 0
    if searches:
        state.post_tool(entry, "web_search_calls", searches, request.at)
    name = str(entry.response_id)
    body = completed(request, echoed, model.name, said, name, tier, searches)
    if conversation is not None:
        conversation.items += [*items_of(request.body.get("input"), chance("input", name)), *body["output"]]
    return body, said, entry.number


def _before(state: State, request: Request, also: Container[str]) -> list[Json]:
    """What the response that this one follows was asked and said; refused where there is no such response."""
    name = request.body.get("previous_response_id")
    if name is None:
        return []
    stored = state.responses.get(name)
    if stored is None and name not in also:
        message = f"Previous response with id '{name}' not found."
        raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
    return [] if stored is None else [*stored.items, *stored.body["output"]]


def retrieve(state: State, request: Request) -> Answer:
    """GET /v1/responses/{id}, and its stream again from `starting_after` on. Nothing new is billed."""
    stored = _stored(state, request, request.path.rsplit("/", 1)[-1])
    query = dict(request.query)
    if query.get("stream") == "true":
        given = query.get("starting_after", "-1")
        if not given.removeprefix("-").isdecimal():
            raise Refusal(400, "Invalid type for 'starting_after': expected an integer.", param="starting_after")
        after = int(given)
        return of_frames([f for f in stored.frames if f.payload and f.payload["sequence_number"] > after])
    return of_json(_status_now(stored, state.now()))


def cancel(state: State, request: Request) -> Answer:
    """POST /v1/responses/{id}/cancel: only background work that is not done can be cancelled."""
    name = request.path.rsplit("/", 2)[-2]
    stored = _stored(state, request, name)
    if stored.body["background"] is not True:
        raise Refusal(400, "Cannot cancel a synchronous response.")
    if state.now() < stored.ready_at and not stored.cancelled:
        stored = replace(stored, cancelled=True)
        state.responses[name] = stored
        state.books.cancel(stored.entry, state.now())
    return of_json(_status_now(stored, state.now()))


def delete(state: State, request: Request) -> Answer:
    """DELETE /v1/responses/{id}."""
    name = request.path.rsplit("/", 1)[-1]
    _stored(state, request, name)
    del state.responses[name]
    return of_json({"id": name, "object": "response", "deleted": True})


def input_tokens(state: State, request: Request) -> Answer:
    """POST /v1/responses/input_tokens: a count, not consumption; nothing is billed."""
    model_of(request, Kind.CHAT, status=400)
    number = weight(request.body.get("input")) + weight(request.body.get("instructions")) + 4
    return of_json({"object": "response.input_tokens", "input_tokens": number})


def compact(state: State, request: Request) -> Answer:
    """POST /v1/responses/compact: billed like a response; its object has no model."""
    body, _, entry_number = decide(state, request)
    output = [{"id": body["output"][-1]["id"], "type": "compaction", "encrypted_content": "c2lt"}]
    compaction = {
        "id": body["id"],
        "object": "response.compaction",
        "created_at": body["created_at"],
        "output": output,
        "usage": body["usage"],
    }
    return of_json(compaction, entry=entry_number)


def decision(state: State, request: Request) -> Answer:
    """POST /v1/decisions: answers to a question, a response's usage, and no id."""
    model = model_of(request, Kind.CHAT)
    prompt = [request.body.get("input"), request.body.get("questions")]
    said = talk(request.rng, model, prompt, choices=1, output_max=None, words_max=4, echo=request.echo)
    entry = state.open_entry(request, model=model, usage_endpoint="decisions", counts=said.counts)
    answers = [{"answer": said.choices[0].text}]
    return of_json({"model": model.name, "answers": answers, "usage": usage_of(said.counts)}, entry=entry.number)


def _stored(state: State, request: Request, name: str) -> Stored:
    stored = state.responses.get(name)
    if stored is None:
        raise Refusal(404, f"Response with id '{name}' not found.", param="id")
    return stored


def _status_now(stored: Stored, now: float) -> Json:
    if stored.cancelled:
        return snapshot(stored.body, "cancelled")
    if now >= stored.ready_at:
        return {**stored.body, "completed_at": int(stored.ready_at)}
    half = (stored.started_at + stored.ready_at) / 2
    return snapshot(stored.body, "queued" if now < half else "in_progress")


def _searches(request: Request) -> bool:
    tools = request.body.get("tools")
    return isinstance(tools, list) and any(isinstance(t, dict) and t.get("type") in WEB_SEARCH for t in tools)


def _padded(state: State, request: Request) -> bool:
    options = request.body.get("stream_options")
    wanted = options.get("include_obfuscation") if isinstance(options, dict) else None
    return state.settings.obfuscation and wanted is not False
