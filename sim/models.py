"""The models on offer: what a client may ask for, what it is served, and the name on the bill.

The three differ: `gpt-4o-mini` is served as `gpt-4o-mini-2024-07-18`, and `text-embedding-ada-002` is billed as
`text-embedding-ada-002-v2` (examples of the OpenAPI document of 2026-08-21). No prices, no counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Which endpoints serve a model."""

    CHAT = "chat"
    LEGACY = "legacy"
    EMBEDDING = "embedding"
    MODERATION = "moderation"
    IMAGE = "image"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    REALTIME = "realtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model."""

    name: str
    """The snapshot that answers; what the body's `model` says."""
    alias: str
    """What clients usually ask for; may equal the name."""
    kind: Kind
    billed_as: str
    """The name in the Usage API."""
    reasons: bool = False
    """Whether it spends hidden reasoning tokens."""
    caches: bool = False
    """Whether prompt tokens may come from the cache."""
    writes_cache: bool = False
    """Whether it reports `cache_write_tokens` (gpt-5.6 and later)."""
    reports_tokens: bool = True
    """Whether its answers carry token counts (dall-e and whisper do not)."""


def _model(
    alias: str,
    dated: str,
    kind: Kind,
    *,
    billed_as: str | None = None,
    reasons: bool = False,
    caches: bool = False,
    writes_cache: bool = False,
    reports_tokens: bool = True,
) -> Model:
    name = f"{alias}-{dated}" if dated else alias
    return Model(
        name=name,
        alias=alias,
        kind=kind,
        billed_as=billed_as or name,
        reasons=reasons,
        caches=caches,
        writes_cache=writes_cache,
        reports_tokens=reports_tokens,
    )


MODELS: tuple[Model, ...] = (
    _model("gpt-4o-mini", "2024-07-18", Kind.CHAT, caches=True),
    _model("gpt-4o", "2024-08-06", Kind.CHAT, caches=True),
    _model("gpt-4.1", "2025-04-14", Kind.CHAT, caches=True),
    _model("gpt-4.1-mini", "2025-04-14", Kind.CHAT, caches=True),
    _model("gpt-4.1-nano", "2025-04-14", Kind.CHAT, caches=True),
    _model("gpt-4-turbo", "2024-04-09", Kind.CHAT),
    _model("gpt-4", "0613", Kind.CHAT),
    _model("gpt-3.5-turbo", "0125", Kind.CHAT),
    _model("gpt-5", "2025-08-07", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-5-mini", "2025-08-07", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-5-nano", "2025-08-07", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-5.1", "2025-11-13", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-5.5", "2026-04-23", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-5.6-sol", "", Kind.CHAT, reasons=True, caches=True, writes_cache=True),
    _model("gpt-5.6-luna", "", Kind.CHAT, reasons=True, caches=True, writes_cache=True),
    _model("o3", "2025-04-16", Kind.CHAT, reasons=True, caches=True),
    _model("o3-mini", "2025-01-31", Kind.CHAT, reasons=True, caches=True),
    _model("o4-mini", "2025-04-16", Kind.CHAT, reasons=True, caches=True),
    _model("gpt-6-luna", "", Kind.CHAT, reasons=True, caches=True, writes_cache=True),
    _model("gpt-3.5-turbo-instruct", "", Kind.LEGACY, billed_as="gpt-3.5-turbo-instruct:20230824-v2"),
    _model("davinci-002", "", Kind.LEGACY),
    _model("babbage-002", "", Kind.LEGACY),
    _model("text-embedding-3-small", "", Kind.EMBEDDING),
    _model("text-embedding-3-large", "", Kind.EMBEDDING),
    _model("text-embedding-ada-002", "", Kind.EMBEDDING, billed_as="text-embedding-ada-002-v2"),
    _model("omni-moderation-latest", "", Kind.MODERATION, billed_as="omni-moderation-2024-09-26"),
    _model("text-moderation-latest", "", Kind.MODERATION, billed_as="text-moderation-007"),
    _model("gpt-image-1", "", Kind.IMAGE),
    _model("gpt-image-1-mini", "", Kind.IMAGE),
    _model("gpt-image-2", "2026-04-21", Kind.IMAGE),
    _model("dall-e-2", "", Kind.IMAGE, reports_tokens=False),
    _model("dall-e-3", "", Kind.IMAGE, reports_tokens=False),
    _model("whisper-1", "", Kind.TRANSCRIPTION, reports_tokens=False),
    _model("gpt-4o-transcribe", "", Kind.TRANSCRIPTION),
    _model("gpt-4o-mini-transcribe", "", Kind.TRANSCRIPTION),
    _model("tts-1", "", Kind.SPEECH, reports_tokens=False),
    _model("tts-1-hd", "", Kind.SPEECH, reports_tokens=False),
    _model("gpt-4o-mini-tts", "", Kind.SPEECH),
    _model("gpt-realtime", "2025-08-28", Kind.REALTIME, caches=True),
    _model("gpt-realtime-2", "", Kind.REALTIME, caches=True),
)

SYNONYMS = {"gpt-5.6": "gpt-5.6-sol", "gpt-4o-realtime-preview": "gpt-realtime"}
"""Names that are served as a model with quite another name."""

_BY_NAME = {name: model for model in MODELS for name in (model.alias, model.name)}


def find(name: object) -> Model | None:
    """The model a client means, by alias, snapshot or synonym; None where there is none."""
    return _BY_NAME.get(SYNONYMS.get(name, name)) if isinstance(name, str) else None
