"""What a provider's answer says of itself: its usage, its name, its state; from whole bodies and from events.

The rules are docs/openai-usage.md A.2-A.5 and G: of several usages in a stream the last that is not null stands, never
a sum; all terminal Responses events count (completed, incomplete, failed), also when their usage is null; an error may
stand inside a 200. Third-party servers leave `object` or `choices` out, so neither is asked for.

Never here: bytes, and the text of an answer or of an error message (it may quote a prompt).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..data.call import Flag, Operation
from ..data.masking import masked
from .client_secret import minted_fingerprint
from .endpoint import Endpoint
from .json_body import Document, is_shallow
from .json_scan import Path

TEXT_CHARS_MAX = 512
_ERROR_WORD_CHARS_MAX = 120
_SECONDS_MAX = 1 << 33
USAGE_DEPTH_MAX = 32
"""A usage nested deeper is no usage; a journal line could not be written, or not be read back."""

_RESPONSE_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.done"})
_RESPONSE_UNDER_WAY = frozenset({"response.created", "response.in_progress", "response.queued"})
_RESPONSE_ITEM = frozenset({"response.output_item.added", "response.output_item.done"})
_IMAGE_TERMINAL = frozenset({"image_generation.completed", "image_edit.completed"})
_AUDIO_TERMINAL = frozenset(
    {"transcript.text.done", "speech.audio.done", "conversation.item.input_audio_transcription.completed"}
)
# Tuples, because what is looked up in these may be anything that JSON holds, also what has no hash.
_CHAT_OBJECTS = ("chat.completion.chunk", "text_completion", "chat.completion")
_RUN_TERMINAL = ("completed", "failed", "cancelled", "expired", "incomplete")
_UNDER_WAY = ("queued", "in_progress")
_BACKGROUND_OBJECTS = ("response", "thread.run")
_LEGACY_COMPLETIONS = ("completions", "engines/{id}/completions")
_PLAIN_ITEMS = (
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    # Asked of the client, which runs them and sends the result in a request of its own.
    "computer_call",
    "computer_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
)
"""Output items of one turn of the model and nothing else.

With any other, listed nowhere, the provider may have worked on its side: in several parts, whose tokens may fall into
several minutes, or on content that is billed and that no answer tells. A type that appears tomorrow is such a one until
it is known to be plain.
"""
_COMPACTION = "compaction"
"""What `responses/compact` makes; in the answer to another request it is a turn of its own."""

_TOP: Path = ("usage",)
_UNDER_RESPONSE: Path = ("response", "usage")


class Answer:
    """Gathers what the documents of one response say. Public attributes are what was said last; None: nothing was."""

    def __init__(self, endpoint: Endpoint, *, status_code: int, images_expected: int = 1) -> None:
        self._endpoint = endpoint
        self._refused = status_code >= 400
        self._images_expected = images_expected
        self.legacy = endpoint.name in _LEGACY_COMPLETIONS
        """Whether it is a legacy completion: one without text leaves its count out."""
        self.model: str | None = None
        self.id: str | None = None
        self.status: str | None = None
        self.service_tier: str | None = None
        self.batch_id: str | None = None
        self.completed_at: int | None = None
        """Microseconds UTC."""
        self.usage: Mapping[str, Any] | None = None
        self.usage_raw: bytes | None = None
        """The bytes of `usage`, where parsing them may have rounded something."""
        self.tool_usage: Mapping[str, Any] | None = None
        self.tool_usage_raw: bytes | None = None
        self.images: int | None = None
        self.minted: str | None = None
        """Fingerprint of the client secret that it mints."""
        self.error: str | None = None
        self.failed_inside = False
        self.complete = False
        """Whether a terminal event was seen."""
        self.flags: dict[Flag, None] = {}

    def take_body(self, document: Document) -> None:
        """A JSON body, whole or as far as it goes; only a whole one tells a usage."""
        members = document.members
        self._identify(members)
        if document.invalid_utf8:
            self.flags[Flag.INVALID_UTF8] = None
        if document.problem is not None:
            return
        self.complete = True
        if members.get("object") in _BACKGROUND_OBJECTS and self.status in _UNDER_WAY:
            # Every stream passes through these states; an answer that ends in one is still being worked on.
            self.flags[Flag.BACKGROUND] = None
        self._set_usage(document, _TOP, members.get("usage"))
        if not self._refused:
            self.minted = minted_fingerprint(self._endpoint.name, members)
        self._set_tools(document, members, ("tool_usage",))
        if self._endpoint.usage_endpoint == "images" and not self._refused:
            self.images = document.data_items
        # A stored object that tells of its own failure was read all right.
        stored = self._endpoint.operation is Operation.READ and "object" in members
        self._take_error(members.get("error"), inside=not self._refused and not stored)

    def knows(self, members: Mapping[str, Any]) -> bool:
        """Whether an unnamed event of these members changes nothing here: a chat's chunk of text is such a one."""
        told = members.get
        model, tier = told("model"), told("service_tier")
        return (
            told("usage") is None
            and told("object") in _CHAT_OBJECTS
            and "type" not in members
            and (self.id is not None or "id" not in members)
            and (self.completed_at is not None or "created" not in members)
            and (model == self.model or not model)
            and (tier is None or tier == self.service_tier)
            and not told("error")
            # These might have to be read to the last digit.
            and "response" not in members
            and "tool_usage" not in members
        )

    def take_event(self, name: bytes, document: Document) -> None:
        """One event of a stream, in order. `name` is its `event` field."""
        members = document.members
        if document.invalid_utf8:
            self.flags[Flag.INVALID_UTF8] = None
        kind = members.get("type")
        if type(kind) is str:
            self._take_typed(kind, members, document)
        else:
            self._take_chunk(members, document)
        if name == b"error" and not self.failed_inside:
            self._take_error(members.get("error", members), inside=True)

    def _take_chunk(self, members: Mapping[str, Any], document: Document) -> None:
        """A chunk of a chat or legacy completion, or an Assistants object."""
        said = members.get("object")
        if said in _CHAT_OBJECTS or "choices" in members or (said is None and "usage" in members):
            model = members.get("model")
            if model:
                self.model = _text(model)
            if self.id is None:
                self.id = _text(members.get("id"))
            if self.completed_at is None:
                self.completed_at = _microseconds(members.get("created"))
            tier = members.get("service_tier")
            if tier is not None:
                self.service_tier = _text(tier)
            usage = members.get("usage")
            if usage is not None or document.oversize:
                self._set_usage(document, _TOP, usage)
        elif said == "thread.run":
            self._identify(members)
            if members.get("usage") is not None:
                self._set_usage(document, _TOP, members["usage"])
            self.complete = self.complete or members.get("status") in _RUN_TERMINAL
            if members.get("last_error"):
                self._take_error(members["last_error"], inside=True)
        if members.get("error"):
            self._take_error(members["error"], inside=True)

    def _take_typed(self, kind: str, members: Mapping[str, Any], document: Document) -> None:
        """An event that says its type inside its data."""
        if kind in _RESPONSE_TERMINAL or kind in _RESPONSE_UNDER_WAY:
            response = members.get("response")
            response = response if isinstance(response, dict) else {}
            self._identify(response)
            if kind in _RESPONSE_TERMINAL:
                self.complete = True
                self._set_usage(document, _UNDER_RESPONSE, response.get("usage"))
                self._set_tools(document, response, ("response", "tool_usage"))
                failed = kind == "response.failed" or (kind == "response.done" and self.status == "failed")
                self._take_error(_response_error(response), inside=True, failed=failed)
        elif kind in _RESPONSE_ITEM:
            self._see_items([members.get("item")])
        elif kind in _IMAGE_TERMINAL:
            self.images = (self.images or 0) + 1
            self.complete = self.images >= self._images_expected
            self._identify(members)
            self._set_usage(document, _TOP, members.get("usage"))
        elif kind in _AUDIO_TERMINAL:
            self.complete = True
            self._set_usage(document, _TOP, members.get("usage"))
        elif kind == "error":
            self._take_error(members.get("error") or members, inside=True)
        elif members.get("object") in _CHAT_OBJECTS or "choices" in members:
            self._take_chunk(members, document)
        elif members.get("error") and not members.get("object"):
            self._take_error(members["error"], inside=True)

    def _identify(self, members: Mapping[str, Any]) -> None:
        """Names, state and times of an object, where it says them."""
        self.model = _text(members.get("model")) or self.model
        self.id = _text(members.get("id")) or self.id
        self.status = _text(members.get("status")) or self.status
        self.service_tier = _text(members.get("service_tier")) or self.service_tier
        for name in ("completed_at", "created_at", "created"):
            at = _microseconds(members.get(name))
            if at is not None:
                self.completed_at = at
                break
        if members.get("object") == "batch":
            self.batch_id = self.id
        if members.get("background") is True:
            self.flags[Flag.BACKGROUND] = None

    def _set_usage(self, document: Document, path: Path, value: object) -> None:
        """What is said last stands, also if that is null."""
        before = self.usage
        raw = document.raw.get(path)
        self.usage, self.usage_raw = None, None
        if path in document.oversize:
            self.flags[Flag.USAGE_TOO_LARGE] = None
        elif isinstance(value, dict) and is_shallow(value, USAGE_DEPTH_MAX):
            self.usage, self.usage_raw = value, raw
            if before is not None and before != value:
                self.flags[Flag.USAGE_REPEATED] = None
        elif value is not None or raw not in (None, b"null"):
            self.flags[Flag.USAGE_MALFORMED] = None

    def _set_tools(self, document: Document, members: Mapping[str, Any], path: Path) -> None:
        """Hosted tools: those among the output items, and what they used outside `usage` (A.3)."""
        tools = members.get("tool_usage")
        if isinstance(tools, dict) and is_shallow(tools, USAGE_DEPTH_MAX):
            self.tool_usage, self.tool_usage_raw = tools, document.raw.get(path)
            if _any_used(tools):
                self.flags[Flag.HOSTED_TOOL] = None
        output = members.get("output")
        if isinstance(output, list):
            self._see_items(output)

    def _see_items(self, items: list[Any]) -> None:
        for item in items:
            kind = item.get("type") if isinstance(item, dict) else None
            if type(kind) is not str or kind in _PLAIN_ITEMS:
                continue
            if kind != _COMPACTION or self._endpoint.name != "responses/compact":
                self.flags[Flag.HOSTED_TOOL] = None

    def _take_error(self, said: object, *, inside: bool, failed: bool = False) -> None:
        """An error's type, code and parameter. `failed`: it is one even if nothing is said of it."""
        words = _error_words(said)
        if words is None and not failed:
            return
        self.error = words or "failed"
        if inside and not self._refused:
            self.failed_inside = True


def _response_error(response: Mapping[str, Any]) -> object:
    """The error of a Response: its own member, in Realtime inside its `status_details` (A.6)."""
    details = response.get("status_details")
    return response.get("error") or (details.get("error") if isinstance(details, dict) else None)


def _error_words(said: object) -> str | None:
    """`type: code (param)` of an error object, without its message; None: there is no error."""
    if isinstance(said, str):
        return "error" if said else None
    if not isinstance(said, dict) or all(value is None for value in said.values()):
        return None
    kind, code, param = (_word(said.get(name)) for name in ("type", "code", "param"))
    words = ": ".join(word for word in (kind, code) if word) or "error"
    return f"{words} ({param})" if param else words


def _word(value: object) -> str | None:
    if type(value) is int:
        return str(value)[:_ERROR_WORD_CHARS_MAX]
    text = _text(value)
    return masked(text)[:_ERROR_WORD_CHARS_MAX] if text else None


def _text(value: object) -> str | None:
    """A short string as it may stand in a journal line; None where the wire has something else."""
    if type(value) is not str:
        return None
    if value.isascii() and len(value) <= TEXT_CHARS_MAX:
        return value
    # Half a surrogate pair can be written in JSON, and in no UTF-8.
    return value[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")


def _microseconds(value: object) -> int | None:
    """A time in epoch seconds, whole or (in early Responses bodies) with a fraction of zero, in microseconds."""
    if (type(value) is not int and type(value) is not float) or not math.isfinite(value):
        return None
    return int(value) * 1_000_000 if 0 < value < _SECONDS_MAX else None


def _any_used(tools: Mapping[str, Any]) -> bool:
    """Whether any number inside is above zero."""
    for value in tools.values():
        if isinstance(value, dict):
            if _any_used(value):
                return True
        elif type(value) in (int, float) and value > 0:
            return True
    return False
