"""Realtime on the wire: events of a session, and the usage of each response in it.

A response has no model of its own: that is the session's. Text and sound are told apart, cached tokens inside both.
Pure but for the books; the socket is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .counts import Counts
from .frame import Answer, Frame, Json, Part, Refusal, Request, of_json
from .models import Kind, find
from .state import State
from .talk import limit_of, model_of, talk
from .words import hexadecimal, identifier, tokens

SECRET_S = 600
LISTENER = "gpt-4o-transcribe"
"""The model that writes down what is heard; billed apart."""


def session(request: Request, model: str) -> Json:
    """The session object, as `session.created` and `session.updated` show it."""
    return {
        "id": identifier(request.rng, "sess_", 21),
        "object": "realtime.session",
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
    }


def client_secret(state: State, request: Request) -> Answer:
    """POST /v1/realtime/client_secrets: a secret for a browser, which calls as the key that asked for it."""
    given = request.body.get("session")
    told = given if isinstance(given, dict) else {}
    model = told.get("model", "gpt-realtime")
    if find(model, any_model=request.any_model) is None:
        raise Refusal(
            400, f"The model `{model}` does not exist or you do not have access to it.", param="session.model"
        )
    value = hexadecimal(request.rng, "ek_", 32)
    state.minted[value] = request.key
    shown = {**session(request, str(model)), "instructions": told.get("instructions", "")}
    return of_json({"value": value, "expires_at": int(request.at) + SECRET_S, "session": shown})


def respond(state: State, request: Request) -> tuple[list[Frame], int]:
    """The events that answer a `response.create`, and the number of the entry."""
    model = model_of(request, Kind.REALTIME)
    said = talk(
        request.rng,
        model,
        request.body,
        choices=1,
        output_max=limit_of(request, "max_output_tokens"),
        words_max=state.settings.words_max,
        echo=request.echo,
    )
    rng = request.rng
    heard = rng.randint(50, 500)
    counts = replace(
        said.counts,
        input_audio=heard,
        cached_audio=rng.choice((0, heard // 2)),
        output_audio=rng.randint(20, 400),
    )
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="completions",
        counts=counts,
        response_id=identifier(rng, "resp_", 21),
    )
    item = {"id": identifier(rng, "item_", 21), "object": "realtime.item", "type": "message", "role": "assistant"}
    begun: Json = {"object": "realtime.response", "id": entry.response_id, "status": "in_progress", "output": []}
    done = {**begun, "status": "completed", "output": [{**item, "status": "completed"}], "usage": usage_of(counts)}
    place = {"response_id": entry.response_id, "item_id": item["id"], "output_index": 0, "content_index": 0}
    listed: list[tuple[str, Json]] = [
        ("response.created", {"response": {**begun, "usage": None}}),
        ("response.output_item.added", {"response_id": entry.response_id, "output_index": 0, "item": item}),
        *(("response.output_audio_transcript.delta", {**place, "delta": piece}) for piece in said.choices[0].pieces),
        ("response.output_audio.delta", {**place, "delta": "c291bmQ="}),
        ("response.done", {"response": done}),
    ]
    return numbered(request, listed), entry.number


def transcribe(state: State, request: Request) -> tuple[list[Frame], int]:
    """The event that tells what was heard, with a usage of its own model's."""
    model = find(LISTENER)
    assert model is not None
    rng = request.rng
    pieces = tokens(rng, rng.randint(1, 9))
    counts = Counts(input_audio=rng.randint(10, 300), output_text=len(pieces), seconds=rng.randint(1, 60), requests=1)
    entry = state.open_entry(request, model=model, usage_endpoint="audio_transcriptions", counts=counts)
    usage = {
        "type": "tokens",
        "input_tokens": counts.input_tokens,
        "input_token_details": {"text_tokens": 0, "audio_tokens": counts.input_audio},
        "output_tokens": counts.output_tokens,
        "total_tokens": counts.total_tokens,
    }
    place = {"item_id": identifier(rng, "item_", 21), "content_index": 0}
    name = "conversation.item.input_audio_transcription.completed"
    return numbered(request, [(name, {**place, "transcript": "".join(pieces), "usage": usage})]), entry.number


def usage_of(counts: Counts) -> Json:
    """The usage object of a realtime response: cached tokens are inside text and audio."""
    return {
        "total_tokens": counts.total_tokens,
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "input_token_details": {
            "text_tokens": counts.input_text + counts.cached_text,
            "audio_tokens": counts.input_audio + counts.cached_audio,
            "image_tokens": counts.input_image + counts.cached_image,
            "cached_tokens": counts.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": counts.cached_text,
                "audio_tokens": counts.cached_audio,
                "image_tokens": counts.cached_image,
            },
        },
        "output_token_details": {"text_tokens": counts.output_text, "audio_tokens": counts.output_audio},
    }


def numbered(request: Request, listed: Sequence[tuple[str, Json]]) -> list[Frame]:
    """Frames of these events, each with an event id; the last is the terminal one."""
    return [
        Frame(
            part=Part.TERMINAL if number == len(listed) - 1 else Part.CONTENT,
            payload={"type": name, "event_id": identifier(request.rng, "event_", 21), **payload},
        )
        for number, (name, payload) in enumerate(listed)
    ]
