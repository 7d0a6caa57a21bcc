"""The environment that points a program's OpenAI client at the proxy. Pure: one mapping in, another out.

Which variable a framework reads is its own affair (facts: ChatDev 1.x reads `BASE_URL`, LangChain `OPENAI_API_BASE`,
the SDKs `OPENAI_BASE_URL`), so all of them are set to the same value, and the proxy's host is kept out of any other
proxy's way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlsplit

BASE_URL_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL")
_NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def base_url(proxy_url: str, *, run_id: str | None = None, step: str | None = None) -> str:
    """The base URL for calls of this run and step, such as `http://127.0.0.1:8787/run/r-1/step/4.7/v1`."""
    path = ""
    if run_id is not None:
        path += f"/run/{quote(run_id, safe='')}"
    if step is not None:
        path += f"/step/{quote(step, safe='')}"
    return f"{proxy_url}{path}/v1"


def client_environment(before: Mapping[str, str], base: str, extra: Iterable[str] = ()) -> dict[str, str]:
    """A copy of `before` in which every base URL variable, and each of `extra`, is `base`."""
    environment = dict(before)
    for variable in (*BASE_URL_VARIABLES, *extra):
        environment[variable] = base
    host = urlsplit(base).hostname or ""
    for variable in _NO_PROXY_VARIABLES:
        listed = [name.strip() for name in before.get(variable, "").split(",") if name.strip()]
        environment[variable] = ",".join(dict.fromkeys([*listed, *_LOOPBACK, host]))
    return environment
