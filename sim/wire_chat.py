"""Chat completions on the wire: JSON, chunks, and the reading, listing and relabelling of stored ones.

The counts are decided and in the books before any of this is built. Shapes as recorded; `usage: null` on every chunk
but one when usage is asked for, and one chunk without choices that has it.
"""

from __future__ import annotations

from typing import Any

from .counts import Counts
from .frame import DONE, Answer, Frame, Json, Part, Refusal, Request, of_frames, of_json
from .logprobs import logprobs, top_of
from .models import Kind
from .shelf import page, part
from .state import State, Stored
from .talk import Called, Said, Talk, limit_of, model_of, number_of, talk, tier_of
from .wanted import of_chat
from .words import chance, identifier

KEPT = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed"),
    *("tools", "tool_choice", "response_format"),
)
"""What a stored completion repeats of its request."""


def create(state: State, request: Request) -> Answer:
    """POST /v1/chat/completions."""
    messages = request.body.get("messages")
    model = model_of(request, Kind.CHAT)
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "Invalid 'messages': expected a non-empty array.", param="messages")
    usage_asked = asks_usage(request)
    top = _top(request)
    said = talk(
        request.rng,
        model,
        [messages, request.body.get("tools")],
        choices=number_of(request, "n", 1, 16),
        output_max=limit_of(request, "max_completion_tokens", "max_tokens"),
        words_max=state.settings.words_max,
        echo=request.echo,
        wanted=of_chat(state, request),
    )
    silent = request.rng.random() < state.settings.silent_cached
    tier = tier_of(request)
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="completions",
        counts=said.counts,
        response_id=identifier(request.rng, "chatcmpl-"),
        service_tier=tier,
        cached_silent=silent,
        usage_told=usage_asked or not request.streamed,
    )
    usage = usage_of(said.counts, silent=silent)
    head = {"id": entry.response_id, "created": int(request.at), "model": model.name, "service_tier": tier}
    body: Json = {
        "id": head["id"],
        "object": "chat.completion",
        "created": head["created"],
        "model": head["model"],
        "choices": [_choice(index, one, said.cut, top, request) for index, one in enumerate(said.choices)],
        "usage": usage,
        "service_tier": tier,
        "system_fingerprint": "fp_sim0000001",
    }
    if request.body.get("store") is True:
        kept = {**body, "request_id": request.request_id, "input_user": request.body.get("user")}
        kept |= {name: request.body.get(name) for name in KEPT} | {"metadata": request.body.get("metadata") or {}}
        asked = tuple({"id": f"{head['id']}-{at}", **one} for at, one in enumerate(messages) if isinstance(one, dict))
        stored = Stored(body=kept, items=asked, entry=entry.number, started_at=request.at, ready_at=request.at)
        state.store(state.chats, str(entry.response_id), stored)
    if not request.streamed:
        return of_json(body, entry=entry.number)
    pad = state.settings.obfuscation and stream_option(request, "include_obfuscation") is not False
    frames = _chunks(head, body["choices"], said, usage if usage_asked else None, request if pad else None)
    return of_frames(frames, entry=entry.number)


def asks_usage(request: Request) -> bool:
    """Whether a stream shall tell its usage; refused where nothing is streamed."""
    if request.body.get("stream_options") is not None and not request.streamed:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    return stream_option(request, "include_usage") is True


def stream_option(request: Request, name: str) -> Any:
    """One of the `stream_options`, None where absent."""
    options = request.body.get("stream_options")
    return options.get(name) if isinstance(options, dict) else None


def usage_of(counts: Counts, *, silent: bool = False) -> Json:
    """Chat's usage object, counts nested as the service nests them."""
    prompt: Json = {"cached_tokens": counts.cached_tokens}
    if counts.cache_write:
        prompt["cache_write_tokens"] = counts.cache_write
    prompt["audio_tokens"] = counts.input_audio + counts.cached_audio
    usage: Json = {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": counts.output_audio,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if silent:
        del usage["prompt_tokens_details"]
    return usage


def listing(state: State, request: Request) -> Answer:
    """GET /v1/chat/completions: stored ones, oldest first. Their usage was billed before."""
    data = [stored.body for stored in state.chats.values()][-100:]
    ids = [body["id"] for body in data]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return of_json({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False})


def messages_of(state: State, request: Request) -> Answer:
    """GET /v1/chat/completions/{id}/messages: what was asked."""
    stored = state.chats.get(part(request, 2))
    if stored is None:
        raise Refusal(404, f"Completion {part(request, 2)} not found", code="not_found")
    return page(stored.items, request, newest_first=False)


def retrieve(state: State, request: Request) -> Answer:
    """GET /v1/chat/completions/{id}; POST changes the metadata and tells the same usage again, DELETE forgets it."""
    identifier_ = request.path.rsplit("/", 1)[-1]
    stored = state.chats.get(identifier_)
    if stored is None:
        raise Refusal(404, f"Completion {identifier_} not found", code="not_found")
    if request.method == "DELETE":
        del state.chats[identifier_]
        return of_json({"id": identifier_, "object": "chat.completion.deleted", "deleted": True})
    if request.method == "POST":
        stored.body["metadata"] = request.body.get("metadata") or {}
    return of_json(stored.body)


def _top(request: Request) -> int | None:
    """How many alternatives the probabilities of each token have; None: no probabilities are told."""
    wanted = request.body.get("logprobs") is True
    if request.body.get("top_logprobs") is not None and not wanted:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise Refusal(400, message, param="top_logprobs")
    return top_of(request) if wanted else None


def _choice(index: int, said: Said, cut: bool, top: int | None, request: Request) -> Json:
    content = said.text if said.pieces or not said.calls else None
    message: Json = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    finish = "stop"
    if said.calls and "functions" in request.body and "tools" not in request.body:
        message["function_call"] = {"name": said.calls[0].name, "arguments": said.calls[0].text}
        finish = "function_call"
    elif said.calls:
        message["tool_calls"] = [_called(call, request) for call in said.calls]
        finish = "tool_calls"
    told = None
    if top is not None and said.pieces:
        told = {"content": logprobs(said.pieces, top, chance("logprobs", request.request_id, index)), "refusal": None}
    return {"index": index, "message": message, "logprobs": told, "finish_reason": "length" if cut else finish}


def _called(call: Called, request: Request) -> Json:
    name = identifier(request.rng, "call_", 24)
    if call.custom:
        return {"id": name, "type": "custom", "custom": {"name": call.name, "input": call.text}}
    return {"id": name, "type": "function", "function": {"name": call.name, "arguments": call.text}}


def _chunks(head: Json, choices: list[Json], said: Talk, usage: Json | None, padded: Request | None) -> list[Frame]:
    """The stream; `usage` None: it was not asked for. `padded`: whose chance makes the obfuscation, None for none."""
    rng = chance("pad", head["id"])

    def frame(chosen: list[Json], part: Part = Part.CONTENT) -> Frame:
        payload: Json = {
            "id": head["id"],
            "object": "chat.completion.chunk",
            "created": head["created"],
            "model": head["model"],
            "service_tier": head["service_tier"],
            "system_fingerprint": "fp_sim0000001",
            "choices": chosen,
        }
        if usage is not None:
            payload["usage"] = usage if part is Part.USAGE else None
        if padded is not None:
            payload["obfuscation"] = identifier(rng, "", rng.randint(1, 14))
        return Frame(part=part, payload=payload)

    def delta(index: int, value: Json, finish: str | None = None, told: Json | None = None) -> list[Json]:
        return [{"index": index, "delta": value, "logprobs": told, "finish_reason": finish}]

    frames: list[Frame] = []
    for index, (choice, one) in enumerate(zip(choices, said.choices, strict=True)):
        message = choice["message"]
        opening = {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}
        frames.append(frame(delta(index, opening)))
        told = choice["logprobs"]["content"] if choice["logprobs"] else None
        for number, piece in enumerate(one.pieces):
            probable = {"content": [told[number]], "refusal": None} if told else None
            frames.append(frame(delta(index, {"content": piece}, told=probable)))
        if "function_call" in message:
            call = one.calls[0]
            frames.append(frame(delta(index, {"function_call": {"name": call.name, "arguments": ""}})))
            frames += [frame(delta(index, {"function_call": {"arguments": piece}})) for piece in call.pieces]
        for number, (shown, call) in enumerate(zip(message.get("tool_calls", []), one.calls, strict=False)):
            kind, field = ("custom", "input") if call.custom else ("function", "arguments")
            begun = {"index": number, **shown, kind: {"name": call.name, field: ""}}
            frames.append(frame(delta(index, {"tool_calls": [begun]})))
            for piece in call.pieces:
                frames.append(frame(delta(index, {"tool_calls": [{"index": number, kind: {field: piece}}]})))
        frames.append(frame(delta(index, {}, choice["finish_reason"])))
    if usage is not None:
        frames.append(frame([], Part.USAGE))
    return [*frames, DONE]
