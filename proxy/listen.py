"""Where a proxy listens, and what of that would be an open door. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.error import SubmeterError
from .upstream_url import Upstream, is_loopback

INTERCEPT_HOST = "127.0.0.1"
"""The intercept tunnels to anywhere, so it is never offered to another machine."""
TOKEN_CHARS_MIN = 16
_EVERYWHERE = ("0.0.0.0", "::")
_LOCAL_NAMES = ("localhost", *_EVERYWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the proxy listens."""

    host: str = "127.0.0.1"
    port: int = 8787
    """0: any free port."""
    remote: bool = False
    """Whether a host beyond loopback was asked for in so many words; it then needs a token."""
    token: str | None = None
    intercept_port: int | None = None
    """Port of the forward proxy on 127.0.0.1. 0: any free port; None: there is none."""

    @property
    def everywhere(self) -> bool:
        """Whether this is every address of the machine, which is no address that a client could be given."""
        return self.host in _EVERYWHERE

    def advice(self) -> str | None:
        """What to say of a token that others could guess; None: nothing."""
        if not self.remote or self.token is None or len(self.token) >= TOKEN_CHARS_MIN:
            return None
        return (
            f"Warning: the token in SUBMETER_TOKEN has {len(self.token)} characters, so other machines may guess it; "
            f"take {TOKEN_CHARS_MIN} or more: export SUBMETER_TOKEN=$(openssl rand -hex 16)"
        )

    def check_upstream(self, upstream: Upstream) -> None:
        """Raise a `SubmeterError` where calls would come back to this proxy for ever."""
        here = upstream.host.lower() in (*_LOCAL_NAMES, self.host.lower()) or is_loopback(upstream.host)
        if here and upstream.port != 0 and upstream.port in (self.port, self.intercept_port):
            raise SubmeterError(
                f"The upstream {upstream.url} is this proxy itself.",
                "Its calls would come back to it for ever. OPENAI_BASE_URL may have been taken for the upstream.",
                "Name where calls go: submeter proxy --upstream https://api.openai.com",
            )

    def check(self) -> None:
        """Raise a `SubmeterError` where this would be an open door."""
        if self.host == "localhost" or is_loopback(self.host):
            return
        if not self.remote or not self.token:
            raise SubmeterError(
                f"Listening on {self.host} would let other machines use this proxy.",
                "That needs --allow-remote and a token in SUBMETER_TOKEN, which clients then send.",
                "Listen on this machine only: submeter proxy --listen 127.0.0.1:8787",
            )


def start_error(listen: Listen, problem: BaseException) -> SubmeterError:
    """Why a proxy that was to listen there did not start, for its user."""
    if isinstance(problem, SubmeterError):
        return problem
    if isinstance(problem, OSError):
        why = str(problem.strerror or problem).splitlines()[0].rstrip(".")
        return SubmeterError(
            f"The proxy cannot listen on {listen.host}:{listen.port}.",
            f"{why}.",
            "Take another port: submeter proxy --listen 127.0.0.1:0 takes any free one.",
        )
    return SubmeterError("The proxy did not start.", f"{type(problem).__name__}: {problem}", "Run: submeter doctor")
