"""Legacy completions on the wire: `text` instead of a message, three counts and no details, no service tier.

Nothing of chat's newer fields may appear here: clients of this endpoint are old.
"""

from __future__ import annotations

from collections.abc import Sequence

from .frame import DONE, Answer, Frame, Json, Part, Request, of_frames, of_json
from .logprobs import logprobs, top_of
from .models import Kind
from .state import State
from .talk import limit_of, model_of, number_of, talk
from .wanted import of_legacy
from .wire_chat import asks_usage
from .words import chance, identifier


def create(state: State, request: Request) -> Answer:
    """POST /v1/completions."""
    model = model_of(request, Kind.LEGACY)
    usage_asked = asks_usage(request)
    limit = limit_of(request, "max_tokens")
    said = talk(
        request.rng,
        model,
        request.body.get("prompt", "<|endoftext|>"),
        choices=number_of(request, "n", 1, 16),
        output_max=16 if limit is None else limit,
        words_max=state.settings.words_max,
        echo=request.echo,
        wanted=of_legacy(state, request),
    )
    top = top_of(request, "logprobs") if request.body.get("logprobs") is not None else None
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="completions",
        counts=said.counts,
        response_id=identifier(request.rng, "cmpl-"),
        usage_told=usage_asked or not request.streamed,
    )
    usage = {
        "prompt_tokens": said.counts.input_tokens,
        "completion_tokens": said.counts.output_tokens,
        "total_tokens": said.counts.total_tokens,
    }
    head: Json = {"id": entry.response_id, "object": "text_completion", "created": int(request.at)}
    finish = "length" if said.cut else "stop"
    if not request.streamed:
        choices = [_choice(one.pieces, index, finish, top, request) for index, one in enumerate(said.choices)]
        return of_json({**head, "model": model.name, "choices": choices, "usage": usage}, entry=entry.number)
    nothing: Json = {"usage": None} if usage_asked else {}
    frames = [
        Frame(
            part=Part.CONTENT,
            payload={**head, "choices": [_choice(pieces, index, end, top, request)], "model": model.name, **nothing},
        )
        for index, one in enumerate(said.choices)
        for pieces, end in [*(((piece,), None) for piece in one.pieces), ((), finish)]
    ]
    if usage_asked:
        payload = {**head, "model": model.name, "usage": usage, "choices": []}
        frames.append(Frame(part=Part.USAGE, payload=payload))
    return of_frames([*frames, DONE], entry=entry.number)


def _choice(pieces: Sequence[str], index: int, finish: str | None, top: int | None, request: Request) -> Json:
    told: Json | None = None
    if top is not None and pieces:
        listed = logprobs(pieces, top, chance("logprobs", request.request_id, index))
        told = {
            "tokens": list(pieces),
            "token_logprobs": [one["logprob"] for one in listed],
            "top_logprobs": [{each["token"]: each["logprob"] for each in one["top_logprobs"]} for one in listed],
            "text_offset": [sum(map(len, pieces[:number])) for number in range(len(pieces))],
        }
    return {"text": "".join(pieces), "index": index, "logprobs": told, "finish_reason": finish}
