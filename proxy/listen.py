"""Where a proxy listens, and what of that would be an open door. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ..data.error import SubmeterError

INTERCEPT_HOST = "127.0.0.1"
"""The intercept tunnels to anywhere, so it is never offered to another machine."""


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

    def check(self) -> None:
        """Raise a `SubmeterError` where this would be an open door."""
        if self.host == "localhost" or _is_loopback(self.host):
            return
        if not self.remote or not self.token:
            raise SubmeterError(
                f"Listening on {self.host} would let other machines use this proxy.",
                "That needs --allow-remote and a token in SUBMETER_TOKEN, which clients then send.",
                "Listen on this machine only: submeter proxy --listen 127.0.0.1:8787",
            )


def start_error(listen: Listen, problem: BaseException) -> SubmeterError:
    """Why a proxy that was to listen there did not start, for its user."""
    if isinstance(problem, OSError):
        # The engine adds advice of its own, about options that are not ours, on further lines.
        why = str(problem.strerror or problem).splitlines()[0].rstrip(".")
        return SubmeterError(
            f"The proxy cannot listen on {listen.host}:{listen.port}.",
            f"{why}.",
            "Take another port: submeter proxy --listen 127.0.0.1:0 takes any free one.",
        )
    return SubmeterError("The proxy did not start.", f"{type(problem).__name__}: {problem}", "Run: submeter doctor")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
