"""How an answer goes out, beyond what it says: delays, cuts, line ends and the size of writes.

The plain manner does nothing. Faults set the rest; only the delivery reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .frame import Frame, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """The manner of one delivery."""

    kinds: tuple[str, ...] = ()
    """Names of the faults at work, for the books."""
    unbilled: bool = False
    """Whether the work is not billed, although it was begun."""
    delay_s: float = 0.0
    """Wall-clock seconds before the headers."""
    close_before_headers: bool = False
    stall_after: int | None = None
    """The frame before which the stream falls silent."""
    stall_s: float = 0.0
    cut: bool = False
    """End in the middle: of the body, or before frame `cut_after`."""
    cut_after: int = 0
    reset: bool = False
    """End with a TCP reset, not with a clean close."""
    chunked: bool = False
    """A body without Content-Length."""
    packed: bool = False
    """The body is already as compressed as its header says."""
    huge_bytes: int = 0
    """Blow the body up to this size with blanks."""
    one_byte_writes: bool = False
    line_end: str = "\n"
    comments: bool = False
    """A comment line before every event, as keep-alives are sent."""

    def framed(self, frame: Frame) -> bytes:
        """A frame's bytes in this manner."""
        # Text with lone surrogates stands for bytes that are not UTF-8.
        raw = frame.part is Part.EXTRA and frame.payload is None
        data = frame.text.encode("utf-8", "surrogateescape") if raw else frame.encode(self.line_end)
        return f": keep-alive{self.line_end}{self.line_end}".encode() + data if self.comments else data


PLAIN = Manner()
