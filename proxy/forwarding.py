"""What may pass the intercept port, and how: pure rules over hosts, ports and one header.

    CONNECT api.openai.com:443       decrypted and metered, whatever `--upstream` maps it to
    CONNECT eu.api.openai.com:443    the same, and goes to its own host
    CONNECT <upstream's host:port>   the same
    CONNECT any other host           tunnelled untouched, to the ports of the web and those above 1023
    http://api.openai.com/...        metered
    any other plain HTTP             refused with 403: the port is no open relay

Never here: sockets.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from .labels import PathLabels, split_path
from .upstream_url import Upstream

METERED_HOST = "api.openai.com"
_REGION = re.compile(r"(?!mtls)[a-z0-9-]+\.|")
_HOST = re.compile(r"[!-~]+")
METERED_PORTS = (443, 80)
INTERCEPT_USER = "submeter"
"""User name in the proxy URL of a labelled program; its password is the label as it stands in a base URL, such as
`/run/<run_id>/step/<step>`."""
WEB_PORTS = (80, 443)
SYSTEM_PORT_MAX = 1023
"""Mail, shells, files and names live up to here; no web client tunnels to them, and a spammer would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a client of the intercept port wants to go."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def connect_target(head: bytes) -> Target | None:
    """Where a CONNECT goes, from a complete request head; None for any other request, or one that is misshapen."""
    method, _, rest = head.partition(b"\n")[0].partition(b" ")
    if method != b"CONNECT":
        return None
    where, _, version = rest.strip().partition(b" ")
    host, colon, port = where.rpartition(b":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65_536 and version.startswith(b"HTTP/1.")):
        return None
    name = host.decode("ascii", "replace")
    if not _HOST.fullmatch(name):
        return None
    return Target(host=name.removeprefix("[").removesuffix("]"), port=int(port))


def is_metered(target: Target, upstream: Upstream) -> bool:
    """Whether calls to this place are read."""
    if is_api_host(target.host):
        return target.port in METERED_PORTS
    return same_host(target.host, upstream.host) and target.port == upstream.port


def is_api_host(host: str) -> bool:
    """Whether this is the API's own name or that of one of its regions, such as `eu.api.openai.com`.

    Those for which a client shows a certificate of its own (`mtls.`, `mtls-us.`) are not: nobody else can show it.
    The regions known to openai-python 3.57.0 (November 2026) are us, eu, ae, au, in and jp.
    """
    region, _, rest = _bare(host).rpartition(METERED_HOST)
    return not rest and _bare(host).endswith(METERED_HOST) and _REGION.fullmatch(region) is not None


def is_unmetered_api_host(host: str) -> bool:
    """Whether calls to this host are the API's work and go past the meter."""
    return _bare(host).endswith("." + METERED_HOST) and not is_api_host(host)


def same_host(one: str, other: str) -> bool:
    """Whether two names are of one host, as DNS compares them."""
    return _bare(one) == _bare(other)


def _bare(host: str) -> str:
    return host.lower().removesuffix(".")


def regional(host: str, upstream: Upstream) -> Upstream | None:
    """The region's own upstream, for a call to its host; None: it goes to the proxy's upstream.

    A region's data stay in it, so its calls are never sent to another. A proxy in front of something else than the
    API (`--upstream`, a gateway) stands for every host of the API.
    """
    bare = _bare(host)
    if (
        bare == METERED_HOST
        or not is_api_host(bare)
        or not is_api_host(upstream.host)
        or same_host(bare, upstream.host)
    ):
        return None
    return replace(upstream, host=bare)


def may_tunnel(target: Target) -> bool:
    """Whether a place that is not metered may be tunnelled to."""
    return target.port in WEB_PORTS or target.port > SYSTEM_PORT_MAX


def labels_of(proxy_authorization: str | None) -> PathLabels:
    """The label in a `Proxy-Authorization` header of ours; an empty one where there is none."""
    scheme, _, given = (proxy_authorization or "").strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, label = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return PathLabels(path="/")
        if user == INTERCEPT_USER:
            # Some clients (the websockets library) send a password as the URL has it, without decoding it.
            return split_path((label if label.startswith("/") else unquote(label)) + "/")
    return PathLabels(path="/")


def path_at_upstream(path: str, target: Target, upstream: Upstream) -> str:
    """The request path as if it had come by the base URL, so that `Upstream.join` puts it where it was meant to go."""
    under = upstream.path.removesuffix("/v1")
    if target.host.lower().removesuffix(".") == upstream.host.lower() and under and path.startswith(under + "/"):
        return path.removeprefix(under)
    return path
