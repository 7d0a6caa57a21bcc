"""What can be looked at of a running proxy: the live page at `/_submeter/`, what it shows as JSON at `/_submeter/live`,
and the same for Prometheus at `/_submeter/metrics`. Read-only.

One file without a request to anywhere else. Its Content-Security-Policy lets that one script and style run, and ask
this listener alone. Names come from strangers; the page sets them as text. Never here: who may look (`control`), and
any prompt, key or key id.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .live import Live
from .prometheus import prometheus_answer
from .recorder import Recorder
from .refusal import Answer, answer_json

_PAGE = Path(__file__).with_name("live.html")
_SHOWN = ("submeter", "ledger", "upstream", "intercept", "calls_open", "calls_settled", "lines_waiting")
"""What of the proxy's health stands on the page."""
_NOT_KEPT = ("Cache-Control: no-store", "X-Content-Type-Options: nosniff")


def live_views(
    live: Live, health: Callable[[], Mapping[str, Any]], recorder: Recorder
) -> Mapping[str, Callable[[], Answer]]:
    """The answers of these paths."""

    def shown() -> Answer:
        told, seen = health(), live.seen(recorder)
        value = {
            "now": recorder.clock.now_us(),
            "proxy": {name: told.get(name) for name in _SHOWN},
            "open": seen.open,
            "last": seen.last,
            **live.figures.latest(),
        }
        answer = answer_json(200, value)
        return Answer(status_code=200, body=answer.body, more=_NOT_KEPT)

    def scraped() -> Answer:
        live.figures.ask()
        return prometheus_answer(live.seen(recorder), health(), live.figures.figures)

    return {"": live_page, "live": shown, "metrics": scraped}


@cache
def live_page() -> Answer:
    """The page itself."""
    body = _PAGE.read_bytes()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes(body, 'script')}",
            f"style-src {_hashes(body, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    more = (*_NOT_KEPT, f"Content-Security-Policy: {policy}", "Referrer-Policy: no-referrer", "X-Frame-Options: DENY")
    return Answer(status_code=200, body=body, content_type="text/html; charset=utf-8", more=more)


def _hashes(body: bytes, element: str) -> str:
    """The digests of the page's own elements of this kind, as a policy names them."""
    found = re.findall(rf"<{element}>(.*?)</{element}>".encode(), body, flags=re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'" for each in found)
