"""Responses on the wire: JSON, events, background work, stored ones and input token counts.

A response is one object; its stream is a list of events around snapshots of it, numbered from zero, ended by exactly
one terminal event and no `[DONE]`. Counts are decided and in the books before any of this is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .counts import Counts
from .frame import Answer, Frame, Json, Part, Refusal, Request, of_frames, of_json
from .models import Kind
from .state import State, Stored
from .talk import Talk, limit_of, model_of, talk, tier_of
from .words import chance, hexadecimal, identifier, weight

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
        stored = Stored(body=body, frames=tuple(frames), entry=entry_number, started_at=request.at, ready_at=ready_at)
        state.store(state.responses, body["id"], stored)
    if background and not request.streamed:
        # Its lines are posted at once, with the instant at which it will be done: nobody has to ask for it.
        state.books.complete(entry_number, ready_at)
        return of_json(snapshot(body, "queued"))
    if request.streamed:
        return of_frames(frames, entry=entry_number)
    return of_json(body, entry=entry_number)


def decide(state: State, request: Request) -> tuple[Json, Talk, int]:
    """The completed response object, what was said, and the number of its entry."""
    model = model_of(request, Kind.CHAT, status=400)
    prompt = [request.body.get("input"), request.body.get("instructions"), request.body.get("tools")]
    said = talk(
        request.rng,
        model,
        prompt,
        choices=1,
        output_max=limit_of(request, "max_output_tokens"),
        words_max=state.settings.words_max,
        echo=request.echo,
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
    searches = request.rng.randint(1, 3) if _searches(request) else 0
    if searches:
        state.post_tool(entry, "web_search_calls", searches, request.at)
    return _body(request, model.name, said, str(entry.response_id), tier, searches), said, entry.number


def usage_of(counts: Counts, *, cache_write: bool = True) -> Json:
    """The usage object of a response."""
    details = {"cached_tokens": counts.cached_tokens}
    if cache_write:
        details["cache_write_tokens"] = counts.cache_write
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": details,
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.total_tokens,
    }


def snapshot(body: Json, status: str) -> Json:
    """The same response before it is done: no output, no usage."""
    return {**body, "status": status, "completed_at": None, "output": [], "usage": None, "incomplete_details": None}


def events(body: Json, said: Talk, *, background: bool = False, padded: bool = True) -> list[Frame]:
    """The whole stream of a response."""
    rng = chance("pad", body["id"])
    item, content = body["output"][-1], body["output"][-1]["content"][0]
    place = {"item_id": item["id"], "output_index": len(body["output"]) - 1, "content_index": 0}
    text = content["text"]
    listed: list[tuple[str, Json]] = []
    if background:
        listed.append(("response.queued", {"response": snapshot(body, "queued")}))
    listed.append(("response.created", {"response": snapshot(body, "in_progress")}))
    listed.append(("response.in_progress", {"response": snapshot(body, "in_progress")}))
    for index, done in enumerate(body["output"][:-1]):
        listed.append(("response.output_item.added", {"output_index": index, "item": {**done, "summary": []}}))
        listed.append(("response.output_item.done", {"output_index": index, "item": done}))
    begun = {**item, "status": "in_progress", "content": []}
    listed.append(("response.output_item.added", {"output_index": place["output_index"], "item": begun}))
    listed.append(("response.content_part.added", {**place, "part": {**content, "text": ""}}))
    for piece in said.choices[0]:
        pad = {"obfuscation": identifier(rng, "", rng.randint(1, 16))} if padded else {}
        listed.append(("response.output_text.delta", {**place, "delta": piece, "logprobs": [], **pad}))
    listed.append(("response.output_text.done", {**place, "text": text, "logprobs": []}))
    listed.append(("response.content_part.done", {**place, "part": content}))
    listed.append(("response.output_item.done", {"output_index": place["output_index"], "item": item}))
    listed.append((f"response.{body['status']}", {"response": body}))
    return numbered(listed)


def numbered(listed: Sequence[tuple[str, Json]]) -> list[Frame]:
    """Frames with their sequence numbers; the last is the terminal one."""
    return [
        Frame(
            part=Part.TERMINAL if number == len(listed) - 1 else Part.CONTENT,
            event=name,
            payload={"type": name, "sequence_number": number, **payload},
        )
        for number, (name, payload) in enumerate(listed)
    ]


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
    answers = [{"answer": "".join(said.choices[0])}]
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


def _body(request: Request, model: str, said: Talk, name: str, tier: str, searches: int) -> Json:
    rng = chance("items", name)
    none = {"text_tokens": 0, "image_tokens": 0}
    status = "incomplete" if said.cut else "completed"
    content = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(said.choices[0])}
    message = {"id": hexadecimal(rng, "msg_", 50), "type": "message", "status": status, "content": [content]}
    output: list[Json] = [{**message, "role": "assistant"}]
    if said.counts.reasoning:
        output.insert(0, {"id": hexadecimal(rng, "rs_", 50), "type": "reasoning", "content": [], "summary": []})
    return {
        "id": name,
        "object": "response",
        "created_at": int(request.at),
        "status": status,
        "background": request.body.get("background") is True,
        "completed_at": int(request.at) if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if said.cut else None,
        "instructions": request.body.get("instructions"),
        "max_output_tokens": request.body.get("max_output_tokens"),
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": request.body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": tier,
        "store": request.body.get("store") is not False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tool_usage": {
            "image_gen": {
                "input_tokens": 0,
                "input_tokens_details": none,
                "output_tokens": 0,
                "output_tokens_details": none,
                "total_tokens": 0,
            },
            "web_search": {"num_requests": searches},
        },
        "tools": request.body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage_of(said.counts),
        "user": None,
        "metadata": request.body.get("metadata") or {},
    }
