"""The environment that points a program's OpenAI client at the proxy. One mapping in, another out.

Which variable a framework reads is its own affair (docs/clients.md: ChatDev 1.x reads `BASE_URL`, LlamaIndex
`OPENAI_API_BASE`, the SDKs `OPENAI_BASE_URL`), so all of them are set to the same value, and the proxy's host is kept
out of any other proxy's way. For a program that hard-codes its URL, the intercept's own variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from .authority import authority_certificate, write_bundle
from .forwarding import INTERCEPT_USER, METERED_HOST
from .labels import label_path
from .outer_proxy import covers, listed

BASE_URL_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL")
_NO_PROXY_VARIABLES = ("NO_PROXY", "no_proxy")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")
_ROOTS_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NODE_ROOTS = "NODE_EXTRA_CA_CERTS"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
POINTING_VARIABLES = (*BASE_URL_VARIABLES, *_NO_PROXY_VARIABLES, _NODE_ROOTS)
"""What `client_environment` sets besides the variables that it is told to."""
INTERCEPT_VARIABLES = (*_PROXY_VARIABLES, *_NO_PROXY_VARIABLES, *_ROOTS_VARIABLES, _NODE_ROOTS, "NODE_USE_ENV_PROXY")
"""What `intercept_environment` sets."""


def base_url(
    proxy_url: str, *, framework: str | None = None, run_id: str | None = None, step: str | None = None
) -> str:
    """The base URL for calls of this run and step, such as `http://127.0.0.1:8787/run/r-1/step/4.7/v1`.

    What is handed to a program names the run whole: `http://127.0.0.1:8787/framework/chatdev/run/r-1/step/4.7/v1`.
    """
    return f"{proxy_url}{label_path(framework=framework, run_id=run_id, step=step)}/v1"


def client_environment(
    before: Mapping[str, str],
    base: str,
    extra: Iterable[str] = (),
    *,
    authority: Path | None = None,
    named: Iterable[str] = BASE_URL_VARIABLES,
) -> dict[str, str]:
    """A copy of `before` in which every base URL variable (`named`), and each of `extra`, is `base`.

    With the folder of the proxy's `authority` node trusts it besides all others: its SDK opens Realtime sockets over
    TLS alone, also where the base URL says http.
    """
    environment = dict(before)
    if authority is not None:
        environment[_NODE_ROOTS] = _node_roots(before, authority)
    for variable in (*named, *extra):
        environment[variable] = base
    host = urlsplit(base).hostname or ""
    for variable in _NO_PROXY_VARIABLES:
        entries = listed(before.get(variable, ""))
        environment[variable] = ",".join(dict.fromkeys([*entries, *_LOOPBACK, host]))
    return environment


def intercept_environment(
    before: Mapping[str, str],
    intercept_url: str,
    *,
    framework: str | None = None,
    run_id: str | None,
    step: str | None,
    authority: Path,
) -> tuple[dict[str, str], list[str]]:
    """A copy of `before` in which HTTPS goes through the intercept and its certificates are trusted; and what to say.

    The label goes as the proxy's password: a URL cannot carry it here. `HTTP_PROXY` is left as it is, because plain
    HTTP is none of the intercept's business. Writes the bundle of roots into the folder of the authority.
    """
    environment = dict(before)
    notes = []
    for variable in _NO_PROXY_VARIABLES:
        entries = listed(before.get(variable, ""))
        kept = [name for name in entries if not covers(name, METERED_HOST)]
        if kept != entries:
            notes.append(f"Note: {METERED_HOST} is taken out of {variable}.")
        environment[variable] = ",".join(dict.fromkeys([*kept, *_LOOPBACK]))
    parts = urlsplit(intercept_url)
    label = quote(label_path(framework=framework, run_id=run_id, step=step) or "/", safe="")
    for variable in _PROXY_VARIABLES:
        if (given := before.get(variable)) and urlsplit(given).username != INTERCEPT_USER:
            notes.append(f"Note: {variable} is replaced; HTTPS goes straight out from the meter.")
        environment[variable] = f"{parts.scheme}://{INTERCEPT_USER}:{label}@{parts.netloc}"
    bundle = write_bundle(authority, [path for name in _ROOTS_VARIABLES if (path := before.get(name))])
    for variable in _ROOTS_VARIABLES:
        environment[variable] = str(bundle)
    environment[_NODE_ROOTS] = _node_roots(before, authority)
    environment["NODE_USE_ENV_PROXY"] = "1"
    return environment, notes


def _node_roots(before: Mapping[str, str], authority: Path) -> str:
    """What node trusts besides its own roots: the authority, and what the program had named."""
    own, ours = before.get(_NODE_ROOTS), str(authority_certificate(authority))
    return str(write_bundle(authority, [own])) if own and own != ours else ours
