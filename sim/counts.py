"""What one call used, as leaves that never overlap, and the totals that follow from them.

The provider nests its counts (cached is inside input, reasoning inside output). Here they are kept apart, so that a
call can be cut over two minutes, corrected or summed and every total still holds; the wire modules nest them again.
Nothing here knows a request, a clock or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tokens, images, characters, seconds and requests. Negative only in a correction."""

    input_text: int = 0
    """Text read, neither from the cache nor written to it."""
    input_audio: int = 0
    """Audio read, not from the cache."""
    input_image: int = 0
    """Images read, not from the cache."""
    cached_text: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    cache_write: int = 0
    """Text written to the cache; inside the input, outside `input_text`."""
    output_text: int = 0
    """Text written, with reasoning and predictions inside."""
    output_audio: int = 0
    output_image: int = 0
    reasoning: int = 0
    """The hidden part of `output_text`; the Usage API has no field for it."""
    images: int = 0
    characters: int = 0
    seconds: int = 0
    requests: int = 0
    """Requests made to the model (`num_model_requests`)."""
    tool_calls: int = 0
    """Calls of a hosted tool (`num_requests` of its own usage endpoint)."""

    @property
    def cached_tokens(self) -> int:
        """Input read from the cache, all kinds."""
        return self.cached_text + self.cached_audio + self.cached_image

    @property
    def uncached_tokens(self) -> int:
        """Input neither read from the cache nor written to it."""
        return self.input_text + self.input_audio + self.input_image

    @property
    def input_tokens(self) -> int:
        """All that went in."""
        return self.uncached_tokens + self.cached_tokens + self.cache_write

    @property
    def output_tokens(self) -> int:
        """All that came out."""
        return self.output_text + self.output_audio + self.output_image

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)})

    def __sub__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Counts)})

    def __bool__(self) -> bool:
        """Whether anything at all was used."""
        return any(getattr(self, f.name) for f in fields(Counts))

    def part(self, share: float) -> Counts:
        """The given share of every leaf, rounded down; requests stay whole with it."""
        leaves = {f.name: int(getattr(self, f.name) * share) for f in fields(Counts)}
        return Counts(**{**leaves, "requests": self.requests, "tool_calls": self.tool_calls})


def total(counts: list[Counts]) -> Counts:
    """The sum of a list; an empty list is all zeros."""
    names = [f.name for f in fields(Counts)]
    return Counts(**{name: sum(getattr(one, name) for one in counts) for name in names})
