"""The probabilities of the tokens of an answer, where a client asks for them. Invented, and the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .frame import Json, Refusal, Request
from .words import WORDS

TOP_MAX = 20


def top_of(request: Request, name: str = "top_logprobs") -> int:
    """How many alternatives each token shall have; refused outside of 0 to 20."""
    given = request.body.get(name)
    if given is None:
        return 0
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= TOP_MAX:
        message = f"Invalid value for '{name}': expected a whole number from 0 to {TOP_MAX}, got {given!r}."
        raise Refusal(400, message, param=name)
    return given


def logprobs(pieces: Sequence[str], top: int, rng: Random) -> list[Json]:
    """One object for each token, as chat and Responses have them."""
    listed: list[Json] = []
    for piece in pieces:
        first = _one(piece, -round(rng.uniform(0.0001, 0.9), 6))
        others = [_one(word, -round(rng.uniform(1.0, 9.0), 6)) for word in rng.sample(WORDS, max(0, top - 1))]
        ranked = sorted(others, key=lambda other: -other["logprob"])
        listed.append({**first, "top_logprobs": [first, *ranked] if top else []})
    return listed


def _one(token: str, logprob: float) -> Json:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}
