"""What all connections of the lane share: whom they tell of a call, where calls go, what is refused at the door.

Never here: sockets, except that what we send ourselves goes out as a task of the lane's loop; bodies.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_hex

from .control import PREFIX, Control, token_matches
from .head import Fields
from .labels import PLAIN_HEADER, PathLabels, join_labels
from .message_head import HEAD_BYTES_MAX, RequestHead
from .receipts import CARRIED
from .recorder import Recorder
from .socket_calls import Sockets
from .upstream import OwnAnswer, OwnRequest, send_again
from .upstream_url import Upstream

logger = logging.getLogger("submeter.proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainLimits:
    """How far an answer whose client left is read (`--drain`)."""

    seconds: float = 600.0
    bytes_max: int = 64 * 1024 * 1024


class Desk:
    """One for a proxy; all that changes in it is whether streams may be asked, and what is being looked up."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        control: Control,
        upstream: Upstream,
        stopping: Callable[[], bool],
        listener: Callable[[], str],
        receipts: bool = False,
        drains: DrainLimits | None = None,
        own_secret: str | None = None,
    ) -> None:
        """`listener`: our own URL, for what we send ourselves; `receipts`: whether what clients left is looked up.

        `drains`: how far an answer whose client left is read; None: it is cut. `own_secret`: what marks a request of
        our own making; None: one that no other process has.
        """
        self.recorder = recorder
        self.control = control
        self.upstream = upstream
        self.stopping = stopping
        self.receipts = receipts
        self.drains = drains
        self.sockets = Sockets(recorder)
        self.asks = True
        """Whether streams are asked for their usage; not once the upstream has refused the question."""
        self._listener = listener
        self._plain = own_secret or token_hex(16)
        self._lookups: set[asyncio.Task[object]] = set()

    def own(self, given: str | None) -> tuple[bool, Upstream | None]:
        """Whether this header value marks a request of our own making, and the region it goes to, if to one."""
        if given is None:
            return False, None
        secret, _, region = given.partition(" ")
        if not token_matches(self._plain, secret):
            return False, None
        return True, replace(self.upstream, host=region) if region else None

    def note_gap(self) -> None:
        """Journal that a call has no row."""
        now_us = self.recorder.clock.now_us()
        self.recorder.journal.append("gap", {"from": now_us, "to": now_us, "calls": 1, "lines": 0})

    def why_refused(self, path: str, token: str | None, address: str) -> tuple[int, str] | None:
        """Why a request does not go upstream, as (status code, reason), or None."""
        if not path.startswith("/"):
            return 400, "the request target does not start with a slash"
        return self.control.token_refused(token, address)

    def look_up(self, path: str, fields: Fields, upstream: Upstream) -> None:
        """Ask, once, what became of a call whose client left; with the key that its request still holds."""
        target = join_labels(PathLabels(path=path, token=self.control.token))
        carried = tuple((name, value) for name, value in fields if name.lower() in CARRIED)
        own = OwnRequest(method="GET", target=target, fields=carried, body=b"")
        task = asyncio.ensure_future(self.send(own, upstream))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def send(self, request: OwnRequest, upstream: Upstream) -> OwnAnswer | None:
        """The answer to a request of our own making, which is a call like any other; None: there was no whole one."""
        region = "" if upstream == self.upstream else f" {upstream.host}"
        return await send_again(
            self._listener(), request, secret=(PLAIN_HEADER.encode(), (self._plain + region).encode())
        )


def is_control(path: str) -> bool:
    """Whether a request path, without labels, is one of the proxy's own."""
    return path.startswith(PREFIX) and path[len(PREFIX) : len(PREFIX) + 1] in ("", "/", "?")


def is_browser(head: RequestHead, path: PathLabels) -> bool:
    """Whether somebody has typed the listener's address into a browser, who is led to the live page."""
    if path.path != "/" or head.method != "GET" or (path.framework, path.run_id, path.step) != (None, None, None):
        return False
    return any(b"text/html" in value.lower() for name, value in head.fields if name.lower() == b"accept")


HEAD_TOO_LONG = 431, f"the request head is over {HEAD_BYTES_MAX} bytes"


def log_failure(where: str, error: Exception) -> None:
    """Type and place of a mistake of ours. Its message is left out: it could hold what passed."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("submeter failed at %s (%s, %s:%s); bytes pass", where, type(error).__name__, frame.name, frame.lineno)
