"""What came from a client and was not dealt with: a head that is not whole, or what was sent ahead. Sans I/O.

    inbox.add(data)
    inbox.next_head()       # the next request's head, taken out; None: it is not here yet
    inbox.take()            # all of it, taken out

Never here: what a head says.
"""

from __future__ import annotations

from .message_head import head_end, without_empty_lines


class Inbox:
    """The bytes of one connection that wait for their turn."""

    __slots__ = ("_looked", "data")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self._looked = 0
        """How much of it was searched for the end of a head."""

    def add(self, data: bytes) -> None:
        if not self.data:
            self.data = data
            return
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        self.data += data

    def take(self) -> bytes:
        data, self.data = bytes(self.data), b""
        return data

    def next_head(self) -> bytes | None:
        """The head that it begins with, empty lines before it dropped. Raises `HeadError` where none can come of it."""
        if not self._looked:
            self.data = without_empty_lines(self.data)
        end = head_end(self.data, self._looked)
        if end is None:
            # Half of an empty line is looked at again with its other half.
            self._looked = len(self.data) if self.data != b"\r" else 0
            return None
        self._looked = 0
        raw, self.data = bytes(self.data[:end]), bytes(self.data[end:])
        return raw
