"""Where calls go: the upstream's URL, taken apart once. Pure.

`https://api.openai.com`, with or without a path (`https://gateway.example/openai/v1`). The base URL that clients use
ends in `/v1`; an upstream that ends in `/v1` too means the same version, not two of them.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..data.error import SubmeterError

DEFAULT_UPSTREAM = "https://api.openai.com"
_VERSION = "/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The one place all calls of a proxy go to."""

    scheme: str
    host: str
    port: int
    path: str
    """What every request path is put under, without a final slash; mostly empty."""

    @property
    def authority(self) -> str:
        """The `Host` header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _port_of(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    def join(self, path: str) -> str:
        """The request path as it goes upstream; `path` begins with `/` and keeps its bytes."""
        if self.path.endswith(_VERSION) and (path == _VERSION or path.startswith(_VERSION + "/")):
            return self.path + path[len(_VERSION) :]
        return self.path + path


def parse_upstream(url: str) -> Upstream:
    """Take an upstream URL apart; a `SubmeterError` says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refuse(url, "it is no URL, or its port is no number up to 65535") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refuse(url, "it must be a whole http:// or https:// URL")
    if parts.query or parts.fragment or parts.username is not None:
        raise _refuse(url, "it may have a path, but no query, fragment or user")
    return Upstream(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _port_of(parts.scheme),
        path=parts.path.rstrip("/"),
    )


def is_loopback(host: str) -> bool:
    """Whether this is an address of the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port_of(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _refuse(url: str, why: str) -> SubmeterError:
    # What may hold a password or a key is not repeated: a user, a query and a fragment.
    shown = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")[2]
    return SubmeterError(
        f"The upstream {shown!r} cannot be used.",
        f"Reason: {why}.",
        "Try: submeter proxy --upstream https://api.openai.com",
    )
