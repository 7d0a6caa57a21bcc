"""A text stream on which nothing that a stranger wrote is obeyed by a terminal. All that commands print passes it.

Nothing here knows what is printed, or whether the stream can be written to.
"""

from __future__ import annotations

import io
from typing import Any, TextIO, cast

from ..data.harmless import harmless


class HarmlessText(io.TextIOWrapper):
    """A text stream that shows control characters, and sends none."""

    def write(self, text: str, /) -> int:
        super().write(harmless(text))
        return len(text)

    def draw(self, text: str) -> int:
        """Write text whose control characters are our own."""
        return super().write(text)


class _Drawn:
    """The same stream, for what draws on a terminal with control characters of its own."""

    def __init__(self, stream: HarmlessText) -> None:
        self._stream = stream
        self.write = stream.draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def drawn(stream: TextIO) -> TextIO:
    """The stream as tables and progress bars write to it: what they show of strangers they make harmless themselves."""
    return cast("TextIO", _Drawn(stream)) if isinstance(stream, HarmlessText) else stream
