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


def _chats(*names: str, reasons: bool = False, caches: bool = True, writes_cache: bool = False) -> tuple[Model, ...]:
    """Chat models of one make; `name@date` has snapshots of its own."""
    pairs = (name.partition("@") for name in names)
    return tuple(
        _model(alias, dated, Kind.CHAT, reasons=reasons, caches=caches, writes_cache=writes_cache)
        for alias, _, dated in pairs
    )


MODELS: tuple[Model, ...] = (
    *_chats("gpt-4o-mini@2024-07-18", "gpt-4o@2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-2024-05-13"),
    *_chats("gpt-4.1@2025-04-14", "gpt-4.1-mini@2025-04-14", "gpt-4.1-nano@2025-04-14", "chatgpt-4o-latest"),
    *_chats("gpt-4o-search-preview@2025-03-11", "gpt-4o-mini-search-preview@2025-03-11"),
    *_chats("gpt-4o-audio-preview@2025-06-03", "gpt-4o-audio-preview-2024-12-17", "gpt-4o-audio-preview-2024-10-01"),
    *_chats("gpt-4o-mini-audio-preview@2024-12-17", "gpt-audio-mini@2025-12-15"),
    *_chats("gpt-4-turbo@2024-04-09", "gpt-4@0613", "gpt-4-0314", "gpt-4-32k@0613", "gpt-4-32k-0314", caches=False),
    *_chats("gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-vision-preview", caches=False),
    *_chats("gpt-3.5-turbo@0125", "gpt-3.5-turbo-1106", "gpt-3.5-turbo-0613", "gpt-3.5-turbo-0301", caches=False),
    *_chats("gpt-3.5-turbo-16k@0613", caches=False),
    *_chats("gpt-5@2025-08-07", "gpt-5-mini@2025-08-07", "gpt-5-nano@2025-08-07", "gpt-5-pro@2025-10-06", reasons=True),
    *_chats("gpt-5-codex", "gpt-5-chat-latest", "gpt-5.1@2025-11-13", "gpt-5.1-mini", "gpt-5.1-codex", reasons=True),
    *_chats("gpt-5.1-codex-mini", "gpt-5.1-codex-max", "gpt-5.1-chat-latest", "gpt-5.2@2025-12-11", reasons=True),
    *_chats("gpt-5.2-pro@2025-12-11", "gpt-5.2-codex", "gpt-5.2-chat-latest", "gpt-5.3-codex", reasons=True),
    *_chats("gpt-5.3-chat-latest", "gpt-5.4@2026-03-05", "gpt-5.4-mini@2026-03-17", reasons=True),
    *_chats("gpt-5.4-nano@2026-03-17", "gpt-5.5@2026-04-23", "gpt-5.5-pro@2026-04-23", reasons=True),
    *_chats("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.6-cyber", reasons=True, writes_cache=True),
    *_chats("gpt-6-astra", "gpt-6-sol", "gpt-6-luna", "gpt-6-cyber", "gpt-6-rosalind", reasons=True, writes_cache=True),
    *_chats("gpt-6.1-sol", "gpt-6.1-terra", "gpt-6.2-astra", "gpt-6.2-sol", reasons=True, writes_cache=True),
    *_chats("o1@2024-12-17", "o1-mini@2024-09-12", "o1-preview@2024-09-12", "o1-pro@2025-03-19", reasons=True),
    *_chats("o3@2025-04-16", "o3-mini@2025-01-31", "o3-pro@2025-06-10", "o4-mini@2025-04-16", reasons=True),
    *_chats("o3-deep-research@2025-06-26", "o4-mini-deep-research@2025-06-26", "codex-mini-latest", reasons=True),
    *_chats("computer-use-preview@2025-03-11", "gpt-6.2-astra-law", "gpt-rosalind-research", reasons=True),
    *_chats("gpt-daybreak-blue-latest", "gpt-daybreak-red-latest", reasons=True),
    _model("gpt-3.5-turbo-instruct", "", Kind.LEGACY, billed_as="gpt-3.5-turbo-instruct:20230824-v2"),
    _model("davinci-002", "", Kind.LEGACY),
    _model("babbage-002", "", Kind.LEGACY),
    _model("text-embedding-3-small", "", Kind.EMBEDDING),
    _model("text-embedding-3-large", "", Kind.EMBEDDING),
    _model("text-embedding-ada-002", "", Kind.EMBEDDING, billed_as="text-embedding-ada-002-v2"),
    _model("omni-moderation-latest", "", Kind.MODERATION, billed_as="omni-moderation-2024-09-26"),
    _model("omni-moderation-2024-09-26", "", Kind.MODERATION),
    _model("text-moderation-stable", "", Kind.MODERATION, billed_as="text-moderation-007"),
    _model("text-moderation-latest", "", Kind.MODERATION, billed_as="text-moderation-007"),
    _model("gpt-image-1", "", Kind.IMAGE),
    _model("gpt-image-1-mini", "", Kind.IMAGE),
    _model("gpt-image-1.5", "", Kind.IMAGE),
    _model("gpt-image-2", "2026-04-21", Kind.IMAGE),
    _model("gpt-image-2.5-sunburst", "2026-09-08", Kind.IMAGE),
    _model("gpt-image-2.5-flare", "2026-09-08", Kind.IMAGE),
    _model("gpt-image-2.6-sunburst", "", Kind.IMAGE),
    _model("gpt-image-2.6-flare", "", Kind.IMAGE),
    _model("chatgpt-image-latest", "", Kind.IMAGE),
    _model("dall-e-2", "", Kind.IMAGE, reports_tokens=False),
    _model("dall-e-3", "", Kind.IMAGE, reports_tokens=False),
    _model("whisper-1", "", Kind.TRANSCRIPTION, reports_tokens=False),
    _model("gpt-transcribe", "", Kind.TRANSCRIPTION),
    _model("gpt-4o-transcribe", "", Kind.TRANSCRIPTION),
    _model("gpt-4o-transcribe-diarize", "", Kind.TRANSCRIPTION),
    _model("gpt-4o-mini-transcribe", "", Kind.TRANSCRIPTION),
    _model("gpt-4o-mini-transcribe-2025-12-15", "", Kind.TRANSCRIPTION),
    _model("tts-1", "", Kind.SPEECH, reports_tokens=False),
    _model("tts-1-hd", "", Kind.SPEECH, reports_tokens=False),
    _model("gpt-4o-mini-tts", "", Kind.SPEECH),
    _model("gpt-4o-mini-tts-2025-12-15", "", Kind.SPEECH),
    _model("gpt-realtime", "2025-08-28", Kind.REALTIME, caches=True),
    _model("gpt-realtime-2", "", Kind.REALTIME, caches=True),
)

SYNONYMS = {
    "gpt-5.6": "gpt-5.6-sol",
    "gpt-4-turbo-preview": "gpt-4-0125-preview",
    "gpt-4o-realtime-preview": "gpt-realtime",
}
"""Names that are served as a model with quite another name."""

_BY_NAME = {name: model for model in MODELS for name in (model.alias, model.name)}


WIDTHS = {"text-embedding-3-large": 3072}
"""Numbers in an embedding, where they are not 1,536."""

_KINDS = (
    (Kind.EMBEDDING, ("embedding",)),
    (Kind.MODERATION, ("moderation",)),
    (Kind.IMAGE, ("image", "dall-e")),
    (Kind.TRANSCRIPTION, ("transcribe", "whisper")),
    (Kind.SPEECH, ("tts",)),
    (Kind.REALTIME, ("realtime",)),
    (Kind.LEGACY, ("instruct", "davinci", "babbage", "curie")),
)


def find(name: object, *, any_model: bool = False) -> Model | None:
    """The model a client means, by alias, snapshot or synonym; None where there is none.

    With `any_model` a name that is not listed is a model too, of the kind that its name sounds like.
    """
    if not isinstance(name, str):
        return None
    found = _BY_NAME.get(SYNONYMS.get(name, name))
    if found is None and any_model and name:
        kind = next((kind for kind, parts in _KINDS if any(part in name for part in parts)), Kind.CHAT)
        return _model(name, "", kind)
    return found
