"""A part's verdict put into words: why, since when, which names and runs it concerns, and where what differs may lie.

Reads the long form of a verdict (`audits.detail`) and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..data.audit_words import CLOSED, UNKNOWN, reason_words
from ..data.clock import US_PER_MINUTE, utc

_DIFFERS = {"excess": "more in the bill", "deficit": "more in the book"}


def reason_lines(reason: str | None, detail: Mapping[str, Any], *, closed: bool = False) -> list[str]:
    """Why a verdict is what it is, a line for each thing to say; no line where there is nothing to say."""
    lines = []
    said = reason_words(reason)
    if said is not None:
        lines.append(f"why: {said}{_of_reason(reason, detail)}")
    for because in detail.get("because") or ():
        if because != reason:
            lines.append(
                f"{'why' if not lines else 'or'}: {UNKNOWN if because == 'unknown' else reason_words(because)}"
            )
    if closed or detail.get("closed"):
        lines.append(f"closed: {CLOSED}")
    joint: Sequence[str] = detail.get("joint") or ()
    if len(joint) == 1:
        lines.append(f"joint: it is {joint[0]} or calls that no run has, and cannot be told which")
    elif joint:
        lines.append(f"joint: it is one of these runs, and cannot be told which: {', '.join(joint)}")
    lines += where_lines(detail)
    return lines


def _of_reason(reason: str | None, detail: Mapping[str, Any]) -> str:
    """The names, numbers and times that go with a reason."""
    match reason:
        case "neighbour":
            named = detail.get("named") or ()
            return f": {', '.join(named)}" if named else ""
        case "open_call":
            calls = [
                f"{each['run'] or 'a call without a run'} since {minute_text(each['first_minute'] + 1)} UTC"
                for each in detail.get("open_calls") or ()
            ]
            return f": {', '.join(dict.fromkeys(calls))}" if calls else ""
        case "renamed":
            pairs = [
                f"{', '.join(each['book'])} in the book, {', '.join(each['bill'])} in the bill"
                for each in detail.get("models") or ()
                if each["paired_by"] == "renamed"
            ]
            return f" ({'; '.join(pairs)})" if pairs else ""
        case "unlabelled":
            count = detail.get("ambiguous") or 0
            return f" ({count:,} call{'' if count == 1 else 's'})" if count else ""
        case "fell":
            return _since(detail.get("fell_since"), "seen at")
        case "changed":
            return _since(detail.get("changed_since"), "that verdict is of")
        case _:
            return ""


def _since(us: int | None, what: str) -> str:
    return "" if us is None else f" ({what} {utc(us):%Y-%m-%d %H:%M} UTC)"


def where_lines(detail: Mapping[str, Any]) -> list[str]:
    """Where what differs may lie: a line for each usage endpoint, model and side of the books."""
    places: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for spot in detail.get("spots") or ():
        places.setdefault((spot["kind"], spot["usage_endpoint"], spot["model"]), []).append(spot)
    lines = [
        f"{_DIFFERS[kind]}: {endpoint} {model} {', '.join(dict.fromkeys(spot['field'] for spot in spots))}, "
        f"may lie in {minutes_text(sorted({spot['minute'] for spot in spots}))}"
        for (kind, endpoint, model), spots in places.items()
    ]
    listed, count = len(detail.get("spots") or ()), detail.get("spots_count") or 0
    return [*lines, f"and {count - listed:,} more places"] if lines and count > listed else lines


def is_known(detail: Mapping[str, Any], window_end_us: int) -> bool:
    """Whether every minute of a window is confirmed, so that equal books say that there is no difference."""
    known_until_us = (detail.get("chain") or {}).get("known_until")
    return known_until_us is not None and known_until_us >= window_end_us


def unit_text(unit: Mapping[str, Any], *, known: bool) -> str:
    """One unit of both books: the run's own calls, other calls of the key that ended in its minutes, their bill.

    `known`: every minute is confirmed; before that a bill may still grow, and nothing is said of a difference.
    """
    named = f"{unit['usage_endpoint']} {unit['model']} {unit['field']}"
    others = f", other calls of this key {unit['others']:,}" if unit.get("others") else ""
    if not unit["compared"]:
        return f"{named}: book {unit['book']:,}{others}, bill {unit['bill']:,}, uncompared (some answers did not say)"
    if unit["d"]:
        return f"{named}: book {unit['book']:,}{others}, bill {unit['bill']:,}, d {unit['d']:+,}"
    if not known:
        return f"{named}: book {unit['book']:,}{others}, bill so far {unit['bill']:,}"
    if unit["book"] == unit["bill"] and not others:
        return f"{named}: book = bill = {unit['bill']:,}"
    return f"{named}: book {unit['book']:,}{others}, bill of these minutes {unit['bill']:,}, no difference"


def minutes_text(minutes: Sequence[int] | Iterable[int]) -> str:
    """Ascending minutes as stretches, the last minute included."""
    stretches: list[list[int]] = []
    for minute in minutes:
        if stretches and minute == stretches[-1][-1] + 1:
            stretches[-1][1:] = [minute]
        else:
            stretches.append([minute])
    return ", ".join(" to ".join(minute_text(each) for each in stretch) for stretch in stretches) + " UTC"


def minute_text(minute: int) -> str:
    """A whole minute since 1970-01-01 UTC."""
    return f"{utc(minute * US_PER_MINUTE):%Y-%m-%d %H:%M}"
