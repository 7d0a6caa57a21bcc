"""What happened on the wire, decided from what was seen. Pure and total.

`Break` says how an answer ended before it was whole, if it did. Never here: what an outcome means for sums; that is
the standing, and it is decided in one place, `view_calls.sql`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from ..data.call import Outcome


class Break(StrEnum):
    """Why a call ended without its answer being whole."""

    CLIENT_LEFT = "client_left"
    UPSTREAM_BROKE = "upstream_broke"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    REFUSED_BY_US = "refused_by_us"
    STOPPED = "stopped"


LEFT = "the client left"
DRAINED = "the client left; its answer was read to the end"
STOPPED = "the proxy was stopped"
"""What a row says of a call that a stop cut, however it was cut."""


def decide_outcome(
    *,
    status_code: int | None,
    broke: Break | None,
    has_usage: bool,
    failed_inside: bool,
    unreadable: bool,
    left: bool = False,
) -> Outcome:
    """The outcome of one attempt.

    `status_code` is None where no answer came. `failed_inside` is an error told inside a 200; `unreadable` a whole
    body that could not be read, by the provider's fault or ours. `left`: the client did not wait for the answer, which
    was read to its end without it.
    """
    if broke is Break.REFUSED_BY_US:
        return Outcome.REFUSED
    if broke in (Break.CLIENT_LEFT, Break.STOPPED):
        return Outcome.ABORTED
    if broke is not None or status_code is None or status_code >= 500:
        return Outcome.FAILED
    if 400 <= status_code < 500:
        return Outcome.REFUSED
    if left:
        return Outcome.ABORTED
    if failed_inside:
        return Outcome.FAILED
    if has_usage:
        return Outcome.METERED
    return Outcome.UNREADABLE if unreadable else Outcome.NO_USAGE


_QUOTED = re.compile(r"""b?['"]|bytearray|\d{12,}|\bsk-""")


def without_quotes(text: str) -> str:
    """A library's words for what broke, up to where it begins to quote what passed (a header, a piece of a body)."""
    return _QUOTED.split(text, maxsplit=1)[0].rstrip(" :(,[")
