"""The proxy that stands between this machine and the upstream, by `HTTPS_PROXY` and `NO_PROXY`. Pure.

    outer = outer_proxy(os.environ, upstream)       # None: the upstream is asked directly
    outer.serves(upstream)                          # whether this one is asked through it too (a region, say)

For https upstreams alone, which are reached by CONNECT: it sees the host's name and no byte of a call. An upstream on
this machine is never asked through it. Never here: sockets.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..data.error import SubmeterError
from .upstream_url import Upstream, is_loopback

_VARIABLES = ("https_proxy", "HTTPS_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterProxy:
    """One proxy of the environment."""

    host: str
    port: int
    authorization: bytes | None = field(repr=False)
    """What `Proxy-Authorization` says; None: its URL has no user."""
    exceptions: tuple[str, ...]
    """What `NO_PROXY` lists."""

    def serves(self, upstream: Upstream) -> bool:
        """Whether this upstream is asked through it."""
        if upstream.scheme != "https" or upstream.host == "localhost" or is_loopback(upstream.host):
            return False
        return not any(covers(name, upstream.host.lower()) for name in self.exceptions)

    def connect_head(self, upstream: Upstream) -> bytes:
        """The request that has it open a tunnel to this upstream."""
        host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host.encode("idna").decode()
        where = f"{host}:{upstream.port}".encode()
        lines = [b"CONNECT " + where + b" HTTP/1.1", b"Host: " + where]
        if self.authorization is not None:
            lines.append(b"Proxy-Authorization: " + self.authorization)
        if is_loopback(self.host) or self.host == "localhost":
            # It may be the intercept port of a submeter, this one included: what is metered here passes it unread.
            lines.append(METERED_HEADER + b": 1")
        return b"\r\n".join(lines) + b"\r\n\r\n"


METERED_HEADER = b"X-Submeter-Metered"
"""Says of a CONNECT that another submeter meters what goes through it."""


def outer_proxy(environment: Mapping[str, str], upstream: Upstream) -> OuterProxy | None:
    """The proxy through which this upstream is asked; None: there is none for it.

    The small variable goes before the capital one, as with curl. Raises `SubmeterError` for a URL that is no proxy's.
    """
    name, url = next(((name, found) for name in _VARIABLES if (found := environment.get(name, "").strip())), ("", ""))
    exceptions = next((found for name in _EXCEPTIONS if (found := environment.get(name, ""))), "")
    if not url:
        return None
    outer = OuterProxy(host="", port=0, authorization=None, exceptions=tuple(listed(exceptions)))
    return _parsed(name, url, outer.exceptions) if outer.serves(upstream) else None


def listed(value: str) -> list[str]:
    """The entries of a `NO_PROXY`."""
    return [name.strip() for name in value.split(",") if name.strip()]


def covers(name: str, host: str) -> bool:
    """Whether an entry of `NO_PROXY` takes this host out of a proxy's hands."""
    bare = name.lower().partition(":")[0].lstrip("*").lstrip(".")
    return name == "*" or host == bare or (bool(bare) and host.endswith("." + bare))


def _parsed(name: str, url: str, exceptions: tuple[str, ...]) -> OuterProxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refuse(name, "it is no URL") from None
    if parts.scheme != "http":
        raise _refuse(name, "it does not begin with http://, and proxies of other kinds are not spoken to")
    if not host or not host.isascii():
        raise _refuse(name, "it names no host")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode("utf-8", "surrogateescape"))
    return OuterProxy(host=host, port=port or _PORT, authorization=authorization, exceptions=exceptions)


def _refuse(name: str, why: str) -> SubmeterError:
    # Its value may hold a password, so nothing of it is repeated.
    return SubmeterError(
        f"The proxy in {name} cannot be used.",
        f"Reason: {why}.",
        "Set it to http://HOST:PORT, or have the upstream asked directly: NO_PROXY=api.openai.com submeter proxy",
    )
