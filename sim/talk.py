"""What a model says to a prompt and what that costs: decided here, first, from the seed and the request.

The counts are crude and uneven on purpose: prompts get a seeded surcharge, so that no two calls cost the same and an
error of one call cannot hide behind another. Nothing here writes books or bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .counts import Counts
from .frame import Refusal, Request
from .models import Kind, Model, find
from .wanted import PLAIN, Wanted
from .words import split, tokens, weight

CACHE_BLOCK = 128
"""Prompts are cached in blocks of this many tokens, from 1,024 on."""
TIERS = {"flex": "flex", "priority": "priority", "fast": "priority", "scale": "scale", "ultrafast": "ultrafast"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A function that is called."""

    name: str
    pieces: tuple[str, ...]
    """Its arguments, one output token each."""
    custom: bool = False
    """Whether it takes any text instead of arguments in JSON."""
    namespace: str | None = None

    @property
    def text(self) -> str:
        """Its arguments."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One choice of an answer."""

    pieces: tuple[str, ...] = ()
    """Its text, one output token each."""
    calls: tuple[Called, ...] = ()

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """An answer in pieces, and its counts."""

    counts: Counts
    choices: tuple[Said, ...]
    cut: bool
    """Whether the caller's limit ended it."""


def model_of(request: Request, *kinds: Kind, default: str | None = None, status: int = 404) -> Model:
    """The model that is asked for, refused as the service does: absent 400, unknown 404, of another kind 404."""
    name = request.body.get("model", default)
    if not isinstance(name, str) or not name:
        raise Refusal(400, "you must provide a model parameter")
    model = find(name, any_model=request.any_model)
    if model is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise Refusal(status, message, code="model_not_found", param="model" if status == 400 else None)
    if model.kind not in kinds:
        if model.kind is Kind.CHAT and Kind.LEGACY in kinds:
            message = (
                "This is a chat model and not supported in the v1/completions endpoint. "
                "Did you mean to use v1/chat/completions?"
            )
        else:
            message = f"This model is not supported in the {request.path.removeprefix('/')} endpoint."
        raise Refusal(404, message, param="model")
    return model


def tier_of(request: Request) -> str:
    """The tier that serves a request: what was asked for, or `default`; a `fast` request comes back `priority`."""
    asked = request.body.get("service_tier")
    return TIERS.get(asked, "default") if isinstance(asked, str) else "default"


def talk(
    rng: Random,
    model: Model,
    prompt: Any,
    *,
    choices: int,
    output_max: int | None,
    words_max: int,
    echo: int,
    wanted: Wanted = PLAIN,
) -> Talk:
    """Decide an answer; `echo` is how often this very request came before (from the second on it may be cached)."""
    text = weight(prompt) + 4 + rng.choice((rng.randint(3, 97), rng.randint(101, 997), rng.randint(1200, 5200)))
    images, audio = modal(prompt)
    image_tokens = sum(rng.randint(85, 765) for _ in range(images))
    audio_tokens = sum(rng.randint(40, 400) for _ in range(audio))
    cached = 0
    if model.caches and text >= 1024 and (echo or rng.random() < 0.5):
        cached = rng.randint(8, text // CACHE_BLOCK) * CACHE_BLOCK
    written = (text - cached) - rng.randint(1, 9) if model.writes_cache and text - cached >= 1024 else 0
    answers: list[Said] = []
    written_tokens = reasoning = 0
    cut = False
    for _ in range(choices):
        thought = rng.choice((0, 64, 128, 192, 448)) + rng.randint(0, 9) if model.reasons else 0
        said = _said(rng, wanted, words_max)
        length = len(said.pieces) + sum(len(call.pieces) for call in said.calls)
        if output_max is not None and thought + length > output_max:
            cut = True
            thought = min(thought, output_max)
            length = output_max - thought
            said = _shortened(said, length)
        reasoning += thought
        written_tokens += length
        answers.append(said)
    counts = Counts(
        input_text=text - cached - written,
        cached_text=cached,
        cache_write=written,
        input_image=image_tokens,
        input_audio=audio_tokens,
        output_text=written_tokens + reasoning,
        reasoning=reasoning,
        requests=1,
    )
    return Talk(counts=counts, choices=tuple(answers), cut=cut)


def _said(rng: Random, wanted: Wanted, words_max: int) -> Said:
    """One choice, before any limit."""
    calls = tuple(
        Called(name=call.name, pieces=split(call.text), custom=call.custom, namespace=call.namespace)
        for call in wanted.calls
    )
    if wanted.text is not None:
        pieces = split(wanted.text)
    elif calls:
        pieces = ()
    else:
        pieces = tuple(tokens(rng, rng.randint(min(3, words_max), words_max)))
    text = "".join(pieces)
    ends = [at for at in (text.find(stop) for stop in wanted.stops) if at >= 0]
    return Said(pieces=split(text[: min(ends)]) if ends else pieces, calls=calls)


def _shortened(said: Said, length: int) -> Said:
    """What of a choice fits into this many tokens; a call of which nothing fits is not made."""
    pieces = said.pieces[:length]
    left = length - len(pieces)
    calls: list[Called] = []
    for call in said.calls:
        if left > 0:
            calls.append(replace(call, pieces=call.pieces[:left]))
        left -= len(call.pieces)
    return Said(pieces=pieces, calls=tuple(calls))


def modal(prompt: Any) -> tuple[int, int]:
    """How many images and sounds are in a prompt."""
    if isinstance(prompt, list):
        pairs = [modal(item) for item in prompt]
        return sum(images for images, _ in pairs), sum(sounds for _, sounds in pairs)
    if isinstance(prompt, dict):
        kind = prompt.get("type")
        if kind in ("image_url", "input_image"):
            return 1, 0
        if kind == "input_audio":
            return 0, 1
        return modal(list(prompt.values()))
    return 0, 0


def limit_of(request: Request, *names: str) -> int | None:
    """The caller's limit of output tokens under the first of these names that is given."""
    for name in names:
        value = request.body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 1:
                raise Refusal(
                    400,
                    f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.",
                    param=name,
                    code="integer_below_min_value",
                )
            return value
    return None


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the request, within 1 and `most`; forms say it in words."""
    value = request.body.get(name)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return default
    return max(1, min(value, most))
