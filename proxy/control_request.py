"""A request of the proxy's own paths, on its way in: its body is held, as it is short. Sans I/O.

Never here: who may ask, and what is answered (`control`).
"""

from __future__ import annotations

from .framing import Body
from .labels import PathLabels
from .message_head import RequestHead


class ControlRequest:
    """A request of the proxy's own paths, on its way in."""

    def __init__(self, head: RequestHead, path: PathLabels, body: Body) -> None:
        self.head = head
        self.path = path
        self.body = body
        self.content = bytearray()

    def take(self, data: bytes) -> int:
        """Take what of `data` is this request's; answers how much."""
        pieces, taken = self.body.take(data)
        for piece in pieces:
            self.content += piece
        return taken
