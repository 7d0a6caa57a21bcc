"""Embeddings, moderations and the list of models: JSON only.

An embedding's body has no id, a moderation's no usage; both are billed all the same.
"""

from __future__ import annotations

import base64
import math
import struct

from .counts import Counts
from .frame import Answer, Json, Refusal, Request, of_json
from .models import MODELS, WIDTHS, Kind, Model, find
from .state import State
from .talk import model_of
from .words import chance, identifier, weight

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)


def embed(state: State, request: Request) -> Answer:
    """POST /v1/embeddings, as floats or as base64 of little-endian 32-bit floats."""
    model = model_of(request, Kind.EMBEDDING)
    given = request.body.get("input")
    if given in (None, "", []):
        raise Refusal(400, "Invalid 'input': expected a non-empty string or array.", param="input")
    texts = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    width = _width(request, model)
    counts = Counts(input_text=weight(given) + len(texts) + request.rng.randint(1, 97), requests=1)
    entry = state.open_entry(request, model=model, usage_endpoint="embeddings", counts=counts)
    data: list[Json] = []
    for index in range(len(texts)):
        rng = chance("vector", entry.number, index)
        drawn = [rng.uniform(-1.0, 1.0) for _ in range(width)]
        length = math.hypot(*drawn) or 1.0
        packed = struct.pack(f"<{width}f", *(number / length for number in drawn))
        coded = request.body.get("encoding_format") == "base64"
        shown = base64.b64encode(packed).decode() if coded else list(struct.unpack(f"<{width}f", packed))
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": counts.input_tokens, "total_tokens": counts.input_tokens}
    body = {"object": "list", "data": data, "model": model.billed_as, "usage": usage}
    return of_json(body, entry=entry.number)


def _width(request: Request, model: Model) -> int:
    """Numbers in each vector: the model's own, or fewer where a client may say so."""
    full = WIDTHS.get(model.name, 1536)
    given = request.body.get("dimensions")
    if given is None:
        return full
    if model.name == "text-embedding-ada-002":
        raise Refusal(400, "This model does not support specifying dimensions.", param="dimensions")
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= full:
        message = f"Invalid value for 'dimensions': expected a whole number from 1 to {full}, got {given!r}."
        raise Refusal(400, message, param="dimensions")
    return given


def moderate(state: State, request: Request) -> Answer:
    """POST /v1/moderations: billed by tokens that the body does not tell."""
    model = model_of(request, Kind.MODERATION, default="omni-moderation-latest")
    counts = Counts(input_text=weight(request.body.get("input")) + request.rng.randint(1, 97), requests=1)
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="moderations",
        counts=counts,
        response_id=identifier(request.rng, "modr-"),
        usage_told=False,
    )
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 1.5e-06),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    return of_json({"id": entry.response_id, "model": model.name, "results": [result]}, entry=entry.number)


def models(state: State, request: Request) -> Answer:
    """GET /v1/models."""
    listed = {name: _model(name, model) for model in MODELS for name in (model.alias, model.name)}
    return of_json({"object": "list", "data": list(listed.values())})


def one_model(state: State, request: Request) -> Answer:
    """GET /v1/models/{id}."""
    name = request.path.rsplit("/", 1)[-1]
    model = find(name, any_model=request.any_model)
    if model is None:
        raise Refusal(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
    return of_json(_model(name, model))


def _model(name: str, model: Model) -> Json:
    return {"id": name, "object": "model", "created": 1_715_367_049, "owned_by": "system"}
