"""What to say of a run of which no call came by, and what to try.

Python libraries checked for whether they look at HTTPS_PROXY, November 2026: httpx, requests, urllib.request and the
openai SDK do; aiohttp does with `trust_env=True` alone, http.client and bare urllib3 never do. Never here: whether
there were calls.
"""

from __future__ import annotations

from ..proxy.environment import BASE_URL_VARIABLES


def what_to_try(*, intercept: bool) -> tuple[str, ...]:
    """The lines, by how the command was pointed at the meter."""
    what = "Note: no call of this run came by. If it made some, they went past the meter, and an audit will say short."
    if intercept:
        return (
            what,
            "  aiohttp without trust_env=True, http.client, bare urllib3 and the fetch of node before 24 ignore "
            "HTTPS_PROXY.",
            f"  Try to point the command by its base URL, alone or as well: --env {BASE_URL_VARIABLES[0]}",
        )
    return (
        what,
        f"  It was pointed by {', '.join(BASE_URL_VARIABLES)}; for another variable of its own try: --env NAME",
        "  For a URL that is written in its code or its .env try: --intercept",
    )
