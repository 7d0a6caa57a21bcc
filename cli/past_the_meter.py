"""What `doctor` looks for on the bill: work of a framework's key in minutes that a proxy watched and saw no call in.

That is how a program shows itself that does not look at the variables it was given. The bill of the last day is read
once for each key, and never stored; an audit says more, and says it for certain. Never here: verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..data.clock import US_PER_MINUTE, US_PER_S, Clock, minute_floor, utc
from ..data.error import SubmeterError
from ..data.keys import KEY_ID, KeyRing
from .checks import Finding, State

CHECK = "past the meter"
LOOKED_BACK_US = 24 * 3600 * US_PER_S
SHIFT_MIN = 5
"""A call may be billed so many minutes after its end (`audit --shift`), and a minute off for the clocks."""

Stretch = tuple[int, int]
"""Beginning and end, microseconds UTC."""


def first_past(billed: Iterable[int], watched: Iterable[Stretch], calls: Iterable[Stretch]) -> int | None:
    """The first billed minute that was watched and in which no call could have been billed; None: there is none.

    `billed` are minutes as the microseconds of their beginning. A minute counts as watched if a proxy was up for all
    of it and for the minutes in which a call that is billed then could have ended.
    """
    early, late = US_PER_MINUTE, (1 + SHIFT_MIN) * US_PER_MINUTE
    stretches, spans = list(watched), list(calls)
    for minute in sorted(billed):
        seen = any(begin - early <= minute + US_PER_MINUTE and minute <= end + late for begin, end in spans)
        up = any(begin <= minute - late and minute + US_PER_MINUTE <= end for begin, end in stretches)
        if up and not seen:
            return minute
    return None


def check_past_the_meter(ring: KeyRing, ledger: Path, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Read the last day's bill of each key that has an id, and compare it with what the ledger saw of it."""
    from ..audit.settings import read_settings
    from ..audit.usage_api import UsageApi
    from ..data.ledger import Ledger
    from ..data.usage_pages import UsageEndpoint

    try:
        settings = read_settings(environment)
        opened = Ledger(ledger, clock=clock) if ledger.exists() else None
    except SubmeterError:
        return []  # `admin key` says what is wrong with them.
    keys = [key for key in ring.keys if key.api_key_id is not None and KEY_ID.fullmatch(key.api_key_id)]
    if settings.admin_key is None or opened is None or not keys:
        return []
    end = minute_floor(clock.now_us()) - US_PER_MINUTE
    begin = end - LOOKED_BACK_US
    past: list[Finding] = []
    with UsageApi(settings, clock=clock) as client:
        for key in keys:
            assert key.api_key_id is not None
            read = client.read(UsageEndpoint.COMPLETIONS, api_key_id=key.api_key_id, window_start=begin, window_end=end)
            if not read.good:
                return []
            try:
                rows = opened.query("past_the_meter", {"api_key_id": key.api_key_id, "from_us": begin}).rows
            except SubmeterError:
                return []  # `lock` and `ingest` say why.
            minute = first_past(
                (row.minute * US_PER_MINUTE for row in read.rows if not row.batch),
                [(from_us, to_us) for kind, from_us, to_us in rows if kind == "watched"],
                [(from_us, to_us) for kind, from_us, to_us in rows if kind == "calls"],
            )
            if minute is not None:
                past.append(_past(key.framework, minute))
    said = "In the last day the bill shows no work of these keys that a running proxy did not see."
    return past or [Finding(check=CHECK, state=State.FINE, said=said)]


def _past(framework: str, minute: int) -> Finding:
    at = f"{utc(minute):%Y-%m-%d %H:%M}"
    return Finding(
        check=CHECK,
        state=State.WRONG,
        said=f"At {at} UTC the bill shows work of {framework}'s key, a proxy was up, and no call came by.",
        next_step=f"See what it reads its base URL from, or: submeter run --framework {framework} --intercept -- CMD",
    )
