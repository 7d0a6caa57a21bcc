"""Images on the wire: GPT-image models tell their tokens, dall-e tells nothing; both are billed by the image.

Bodies have no id and no model. A stream's last event has usage without output details.
"""

from __future__ import annotations

import base64

from .counts import Counts
from .frame import Answer, Frame, Json, Part, Refusal, Request, of_frames, of_json
from .models import Kind
from .state import State
from .talk import model_of, number_of
from .words import weight

SOURCES = {"generations": "image.generation", "edits": "image.edit", "variations": "image.variation"}
EVENTS = {"generations": "image_generation", "edits": "image_edit", "variations": "image_edit"}


def create(state: State, request: Request) -> Answer:
    """POST /v1/images/generations, edits (a form or JSON) and variations."""
    act = request.path.rsplit("/", 1)[-1]
    model = model_of(request, Kind.IMAGE, default="dall-e-2")
    if act != "variations" and not request.body.get("prompt"):
        raise Refusal(400, "Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    rng = request.rng
    images = number_of(request, "n", 1, 10)
    size = str(request.body.get("size") or "1024x1024")
    counts = Counts(images=images, requests=1)
    if model.reports_tokens:
        counts += Counts(
            input_text=weight(request.body.get("prompt")) + rng.randint(3, 97),
            input_image=rng.randint(85, 765) * len(request.files),
            output_image=rng.randint(160, 1600) * images,
        )
    entry = state.open_entry(
        request,
        model=model,
        usage_endpoint="images",
        counts=counts,
        usage_told=model.reports_tokens,
        source=SOURCES[act],
        size=size,
    )
    pictures = [base64.b64encode(rng.randbytes(96)).decode() for _ in range(images)]
    if request.streamed and model.reports_tokens:
        return of_frames(_events(request, act, pictures[0], _usage(counts, details=False)), entry=entry.number)
    body: Json = {"created": int(request.at), "data": [{"b64_json": picture} for picture in pictures]}
    if model.reports_tokens:
        shape = {"background": "opaque", "output_format": "png", "quality": "low", "size": size}
        body = {**body, **shape, "usage": _usage(counts)}
    return of_json(body, entry=entry.number)


def _usage(counts: Counts, *, details: bool = True) -> Json:
    usage: Json = {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"image_tokens": counts.input_image, "text_tokens": counts.input_text},
        "output_tokens": counts.output_tokens,
    }
    if details:
        usage["output_tokens_details"] = {"image_tokens": counts.output_image, "text_tokens": 0}
    return {**usage, "total_tokens": counts.total_tokens}


def _events(request: Request, act: str, picture: str, usage: Json) -> list[Frame]:
    shape = {"background": "opaque", "created_at": int(request.at), "output_format": "png", "quality": "low"}
    partials = number_of(request, "partial_images", 1, 3)
    name = EVENTS[act]
    frames = [
        Frame(
            part=Part.CONTENT,
            event=f"{name}.partial_image",
            payload={
                "type": f"{name}.partial_image",
                **shape,
                "b64_json": picture[: 16 * (index + 1)],
                "partial_image_index": index,
            },
        )
        for index in range(partials)
    ]
    payload = {"type": f"{name}.completed", **shape, "b64_json": picture, "usage": usage}
    return [*frames, Frame(part=Part.TERMINAL, event=f"{name}.completed", payload=payload)]
