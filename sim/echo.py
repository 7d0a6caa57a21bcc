"""What a response repeats of its request, with the defaults that the service fills in.

A value of the wrong kind is refused, as the service does. Nothing here costs anything.
"""

from __future__ import annotations

from typing import Any

from .frame import Json, Refusal, Request

NUMBER = (int, float)
REPEATED: tuple[tuple[str, tuple[type, ...], str, Any], ...] = (
    ("frequency_penalty", NUMBER, "a number", 0.0),
    ("instructions", (str, list), "a string", None),
    ("max_output_tokens", (int,), "an integer", None),
    ("max_tool_calls", (int,), "an integer", None),
    ("metadata", (dict,), "an object", {}),
    ("parallel_tool_calls", (bool,), "a boolean", True),
    ("presence_penalty", NUMBER, "a number", 0.0),
    ("previous_response_id", (str,), "a string", None),
    ("prompt", (dict,), "an object", None),
    ("prompt_cache_key", (str,), "a string", None),
    ("prompt_cache_retention", (str,), "a string", None),
    ("safety_identifier", (str,), "a string", None),
    ("temperature", NUMBER, "a number", 1.0),
    ("tool_choice", (str, dict), "a string or an object", "auto"),
    ("tools", (list,), "an array", []),
    ("top_logprobs", (int,), "an integer", 0),
    ("top_p", NUMBER, "a number", 1.0),
    ("truncation", (str,), "a string", "disabled"),
    ("user", (str,), "a string", None),
)
"""Name, kinds of value that are taken, in words, and what stands there where nothing was asked."""

FORMAT = {"type": "text"}


def repeated(request: Request) -> Json:
    """The fields of the request that its response shows."""
    told: Json = {}
    for name, kinds, words, default in REPEATED:
        given = request.body.get(name)
        if given is not None and (not isinstance(given, kinds) or (isinstance(given, bool) and bool not in kinds)):
            raise _wrong(name, words, given)
        told[name] = default if given is None else given
    reasoning, text = _object(request, "reasoning"), _object(request, "text")
    told["reasoning"] = {"effort": None, "summary": None, **reasoning}
    told["text"] = {"verbosity": "medium", **text, "format": _format(text.get("format"))}
    return told


def _format(given: Any) -> Json:
    if given is None:
        return dict(FORMAT)
    if not isinstance(given, dict):
        raise _wrong("text.format", "an object", given)
    if given.get("type") == "json_schema":
        return {"description": None, "strict": False, **given}
    return given


def _object(request: Request, name: str) -> Json:
    given = request.body.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _wrong(name, "an object", given)
    return given


def _wrong(name: str, words: str, given: Any) -> Refusal:
    message = f"Invalid type for '{name}': expected {words}, but got {type(given).__name__} instead."
    return Refusal(400, message, param=name, code="invalid_type")
