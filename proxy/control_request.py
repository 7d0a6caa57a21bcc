"""A request of the proxy's own paths, on its way in: its body is held, as it is short. Sans I/O.

Never here: who may ask, and what is answered (`control`).
"""

from __future__ import annotations

from .control import BODY_BYTES_MAX, Control
from .framing import Body, request_body
from .head import all_headers
from .labels import TOKEN_HEADER, PathLabels
from .message_head import RequestHead
from .refusal import Answer, refusal


def begin_control(control: Control, head: RequestHead, path: PathLabels, address: str) -> ControlRequest | Answer:
    """A request whose head is complete, or why it is refused. Raises `HeadError` for a body in doubt."""
    body = request_body(head)
    headers = all_headers(head.said)
    if path.token is not None:
        # A browser cannot set a header: it gives the token as clients do that cannot, in the path.
        headers.setdefault(TOKEN_HEADER, path.token)
    refused = control.refused(headers, address)
    if refused is not None:
        return refused
    if "transfer-encoding" in headers or int(headers.get("content-length", "0")) > BODY_BYTES_MAX:
        return refusal(413, f"A control request tells its length, at most {BODY_BYTES_MAX}.")
    return ControlRequest(head, path, body, continues="expect" in headers and not body.ended)


class ControlRequest:
    """A request of the proxy's own paths, on its way in."""

    def __init__(self, head: RequestHead, path: PathLabels, body: Body, *, continues: bool) -> None:
        """`continues`: whether the client waits for our word before it sends the body."""
        self.head = head
        self.path = path
        self.body = body
        self.continues = continues
        self._content = bytearray()

    def take(self, data: bytes) -> int:
        """Take what of `data` is this request's; answers how much."""
        pieces, taken = self.body.take(data)
        for piece in pieces:
            self._content += piece
        return taken

    def answer(self, control: Control) -> Answer:
        """The answer, once the body is whole."""
        return control.answer(self.head.method, self.path.path.partition("?")[0], bytes(self._content))
