"""Tokens that image calls told: perhaps billed as completions, under the image model's own name, perhaps not at all.

The Usage API has token fields under completions alone (docs/openai-usage.md C.4), and nobody documents whether the
tokens of a GPT-image call are billed there. So they are optional amounts on a row that is itself counted, by its
images: of one class, with two books until it is known which holds.

Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from ..data.call import Standing
from .bucket import UsageEndpoint
from .unit import BookRow

IMAGE_TOKENS = "image_tokens"
"""The class of these amounts."""
IMAGE_GEN = "image_gen"
"""The class of what a hosted image tool told outside its call's `usage` (`tool_usage.image_gen`)."""


class Stated(Protocol):
    """Alike calls, or one call."""

    @property
    def standing(self) -> str: ...
    @property
    def usage_endpoint(self) -> str | None: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...


def drew(row: Stated) -> bool:
    """Whether these are counted calls for images."""
    return row.standing == Standing.COUNTED and row.usage_endpoint == UsageEndpoint.IMAGES


def tells_tokens(row: Stated) -> bool:
    """Whether these are counted calls for images that told tokens."""
    return drew(row) and row.input_tokens is not None and row.output_tokens is not None


def drew_silently(row: Stated) -> bool:
    """Whether these are counted calls for images of whose tokens nobody said anything."""
    return drew(row) and not tells_tokens(row)


def as_completions(row: BookRow) -> BookRow:
    """The tokens of such calls as completions would have them."""
    return replace(row, usage_endpoint=UsageEndpoint.COMPLETIONS, images=None)
