"""Faults of the usage object itself: mangled, missing, repeated or in the wrong chunk.

Pure, and about `usage` alone, wherever it sits: at the top of a body or chunk, or in a terminal event's `response`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .faults import Mangle
from .frame import Answer, Frame, Json, Part, pretty

INPUTS = ("prompt_tokens", "input_tokens")
DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")


def mangled(answer: Answer, mangle: Mangle) -> Answer:
    """The answer with its usage mangled."""
    return _changed(answer, lambda usage: _mangle(usage, mangle))


def without(answer: Answer) -> Answer:
    """The answer silent about usage: no chunk of its own, no key in a body, null in a terminal event."""
    if answer.frames is not None:
        kept = tuple(frame for frame in answer.frames if frame.part is not Part.USAGE)
        return _changed(replace(answer, frames=kept), lambda usage: None)
    if answer.payload is None:
        return answer
    payload = {key: value for key, value in answer.payload.items() if key != "usage"}
    return replace(answer, payload=payload, body=pretty(payload))


def repeated(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Chat chunks with a usage that grows from one to the next; the last is the true one."""
    true = _usage_chunk(frames)
    if true is None:
        return frames
    content = [n for n, frame in enumerate(frames) if frame.part is Part.CONTENT]
    spoilt = list(frames)
    for place, number in enumerate(content):
        written = true["completion_tokens"] * (place + 1) // len(content)
        usage = {**true, "completion_tokens": written, "total_tokens": true["prompt_tokens"] + written}
        spoilt[number] = replace(frames[number], payload={**(frames[number].payload or {}), "usage": usage})
    return tuple(spoilt)


def with_choices(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Chat chunks with the usage on the last one that has choices."""
    true = _usage_chunk(frames)
    if true is None:
        return frames
    spoilt = [frame for frame in frames if frame.part is not Part.USAGE]
    last = max(n for n, frame in enumerate(spoilt) if frame.part is Part.CONTENT)
    spoilt[last] = replace(spoilt[last], payload={**(spoilt[last].payload or {}), "usage": true})
    return tuple(spoilt)


def _usage_chunk(frames: tuple[Frame, ...]) -> Json | None:
    for frame in frames:
        if frame.part is Part.USAGE and frame.payload is not None:
            usage: Json = frame.payload["usage"]
            return usage
    return None


def _changed(answer: Answer, change: Callable[[Json], Any]) -> Answer:
    if answer.frames is not None:
        frames = [
            frame if frame.payload is None else replace(frame, payload=_in(frame.payload, change))
            for frame in answer.frames
        ]
        return replace(answer, frames=tuple(frames))
    if answer.payload is None:
        return answer
    payload = _in(answer.payload, change)
    return replace(answer, payload=payload, body=pretty(payload))


def _in(payload: Json, change: Callable[[Json], Any]) -> Json:
    if payload.get("usage"):
        return {**payload, "usage": change(payload["usage"])}
    response = payload.get("response")
    if isinstance(response, dict) and response.get("usage"):
        return {**payload, "response": {**response, "usage": change(response["usage"])}}
    return payload


def _mangle(usage: Json, mangle: Mangle) -> Any:
    counts = {key: value for key, value in usage.items() if isinstance(value, int)}
    match mangle:
        case Mangle.NULL:
            return None
        case Mangle.STRING:
            return "not available"
        case Mangle.LIST:
            return [usage]
        case Mangle.NEGATIVE:
            return {**usage, **{key: -value - 1 for key, value in counts.items()}}
        case Mangle.ABSURD:
            return {**usage, **{key: value + 10**12 for key, value in counts.items()}}
        case Mangle.FLOAT:
            return {**usage, **{key: value + 0.5 for key, value in counts.items()}}
        case Mangle.TEXT_COUNTS:
            return {**usage, **{key: str(value) for key, value in counts.items()}}
        case Mangle.CACHED_OVER_INPUT:
            top = next((usage[name] for name in INPUTS if name in usage), 0)
            name = next((name for name in DETAILS if name in usage), None)
            name = name or ("prompt_tokens_details" if "prompt_tokens" in usage else "input_tokens_details")
            return {**usage, name: {**(usage.get(name) or {}), "cached_tokens": top + 1}}
