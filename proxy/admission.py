"""What a connection's requests are for: the path and labels of each, by how its client came. Pure.

A client of the base URL comes `Direct`. One of the intercept port comes `Through` it, in a tunnel to a metered host or
with whole URLs; it was let in by its own machine, so no token is asked of it. Never here: sockets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from .forwarding import Target, is_metered, labels_of, path_at_upstream, regional
from .head import Fields
from .labels import PathLabels, split_path
from .message_head import RequestHead, origin_form
from .upstream_url import Upstream

_WHOLE_URL = re.compile(rb"(?i)http://([^/?#@]+?)(?::([0-9]{1,5}))?(?=[/?#]|$)")
_PROXY_LINE = re.compile(rb"(?i)\r\nproxy-(?:authorization|connection):[^\r\n]*")
_H2C_LINE = re.compile(rb"(?i)\r\n(?:upgrade|http2-settings):[^\r\n]*")
HTTP_PORT = 80


class Admission(Protocol):
    """How a connection's requests are taken."""

    @property
    def controls(self) -> bool:
        """Whether the proxy's own paths are answered here."""

    def path_of(self, target: bytes, fields: Callable[[], Fields]) -> PathLabels | None:
        """Path and labels of a request; None: it is for a place that this connection may not ask.

        `fields`: called where they are needed.
        """

    def head_of(self, head: RequestHead) -> RequestHead:
        """The head without what was said to us and not to the upstream."""


class Direct:
    """By the base URL."""

    controls = True

    def path_of(self, target: bytes, fields: Callable[[], Fields]) -> PathLabels | None:
        return split_path(origin_form(target).decode("utf-8", "surrogateescape"))

    def head_of(self, head: RequestHead) -> RequestHead:
        return _without_h2c(head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """By the intercept port."""

    upstream: Upstream
    token: str | None
    """The listener's, which is not asked for here."""
    tunnel: Target | None = None
    """The metered host that the client's tunnel is to; None: its requests name theirs."""
    labels: PathLabels | None = None
    """Those that the tunnel was opened with."""

    @property
    def controls(self) -> bool:
        return False

    def path_of(self, target: bytes, fields: Callable[[], Fields]) -> PathLabels | None:
        place = self.tunnel or _place(target)
        if place is None or not is_metered(place, self.upstream):
            return None
        given = next((value for name, value in fields() if name.lower() == b"proxy-authorization"), None)
        labels = self.labels or labels_of(None if given is None else given.decode("latin-1"))
        text = origin_form(target).decode("utf-8", "surrogateescape")
        return replace(
            labels,
            path=path_at_upstream(text, place, self.upstream),
            token=self.token,
            upstream=regional(place.host, self.upstream),
        )

    def head_of(self, head: RequestHead) -> RequestHead:
        return _without_h2c(_without(head, _PROXY_LINE))


def _without_h2c(head: RequestHead) -> RequestHead:
    """The head without the offer to go on in HTTP/2, which Java's client makes with every request: it is made to us.

    An upstream that took it would speak what is not read here.
    """
    if not any(value.lower() == b"h2c" for value in head.wanted.get(b"upgrade", ())):
        return head
    wanted = {name: values for name, values in head.wanted.items() if name != b"upgrade"}
    return replace(_without(head, _H2C_LINE), wanted=wanted)


def _without(head: RequestHead, lines: re.Pattern[bytes]) -> RequestHead:
    raw, found = lines.subn(b"", head.raw)
    return replace(head, raw=raw) if found else head


def _place(target: bytes) -> Target | None:
    """The host and port of a request target in absolute form."""
    found = _WHOLE_URL.match(target)
    if found is None:
        return None
    try:
        host = found[1].decode("ascii")
    except UnicodeDecodeError:
        return None
    return Target(host=host.removeprefix("[").removesuffix("]"), port=int(found[2] or HTTP_PORT))
