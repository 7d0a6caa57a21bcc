"""The pictures of a report: tokens by step, calls on a time line, book over bill by minute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .pictures import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, WIDTH, Picture, short
from .reported import Minutes, Report
from .runs import NO_STEP

PARTS = (
    ("input, not cached", BLUE),
    ("input, cached", SKY),
    ("input, cached or not", GREY),
    ("output, not reasoning", ORANGE),
    ("output, reasoning", RED),
    ("output, reasoning or not", PINK),
)
"""What tokens are drawn as; the third and last where the provider did not say."""
STANDINGS = (("counted", BLUE), ("unknown", RED), ("optional", PINK), ("uncovered", GREY), ("unbilled", GREEN))
OPEN = "open"
MINUTE_PICTURES_MAX = 12
LANES_MAX = 60
DAY_S = 30 * 3600


def pictures_of(report: Report) -> list[Picture]:
    """All pictures that there is something for."""
    found = [_tokens(report), _calls(report)]
    drawn = [each for each in report.minutes if each.rows][:MINUTE_PICTURES_MAX]
    found += [_minutes(number, each) for number, each in enumerate(drawn, 1)]
    return [picture for picture in found if picture is not None]


def token_parts(row: dict[str, Any]) -> list[tuple[str, int]]:
    """A sum of tokens in disjoint parts; cached tokens are inside input, reasoning inside output."""
    found = []
    for whole, inside, names in (
        ("input_tokens", "cached_input_tokens", (0, 1, 2)),
        ("output_tokens", "reasoning_tokens", (3, 4, 5)),
    ):
        total, part = row[whole], row[inside]
        if total is None:
            continue
        if part is None:
            found.append((PARTS[names[2]][0], total))
        else:
            found += [(PARTS[names[0]][0], total - part), (PARTS[names[1]][0], part)]
    return found


def _tokens(report: Report) -> Picture | None:
    values = [
        {
            "framework": short(row["framework"] or "(no framework)"),
            "step": short(NO_STEP if row["step"] is None else row["step"]),
            "part": part,
            "tokens": tokens,
            "order": [name for name, _ in PARTS].index(part),
            "place": place,
        }
        for place, row in enumerate(report.steps)
        for part, tokens in token_parts(row)
        if tokens
    ]
    if not values:
        return None
    used = [(name, colour) for name, colour in PARTS if any(each["part"] == name for each in values)]
    spec = {
        "data": {"values": values},
        "facet": {
            "row": {
                "field": "framework",
                "type": "nominal",
                "header": {"title": None, "labelAngle": 0, "labelAlign": "left", "labelLimit": 120},
            }
        },
        "resolve": {"scale": {"y": "independent"}},
        "spec": {
            "width": WIDTH - 150,
            "height": {"step": 18},
            "mark": {"type": "bar"},
            "encoding": {
                "y": {
                    "field": "step",
                    "type": "nominal",
                    "title": None,
                    "sort": {"field": "place", "op": "min"},
                },
                "x": {"field": "tokens", "type": "quantitative", "title": "tokens"},
                "color": _colours("part", used),
                "order": {"field": "order"},
            },
        },
    }
    return Picture(name="tokens-by-step", caption="Tokens of counted calls by framework and step", spec=spec)


def _calls(report: Report) -> Picture | None:
    if not report.calls:
        return None
    alone = len({(row["framework"], row["run_id"]) for row in report.calls}) == 1
    values = [
        {
            "lane": _lane(row, alone),
            "from": _moment(row["started_at"]),
            "to": _moment(row["ended_at"] or row["started_at"]),
            "standing": row["standing"] or "",
        }
        for row in report.calls
    ]
    lanes = list(dict.fromkeys(each["lane"] for each in values))
    values = [each for each in values if each["lane"] in lanes[:LANES_MAX]]
    used = [(name, colour) for name, colour in STANDINGS if any(each["standing"] == name for each in values)]
    place = {"field": "lane", "type": "nominal", "title": None, "sort": lanes[:LANES_MAX]}
    ends = [row["ended_at"] or row["started_at"] for row in report.calls]
    start = {"field": "from", "type": "temporal", "scale": {"type": "utc"}}
    start |= _time_axis(min(row["started_at"] for row in report.calls), max(ends))
    spec = {
        "width": WIDTH - 60,
        "height": {"step": 18},
        "data": {"values": values},
        "encoding": {"y": place, "x": start, "color": _colours("standing", used)},
        "layer": [
            {"mark": {"type": "bar", "height": 9}, "encoding": {"x2": {"field": "to"}}},
            {"mark": {"type": "tick", "thickness": 1.5, "size": 11}},
        ],
    }
    what = "step" if alone else "run"
    caption = f"Calls on a time line, from start to end, by {what} and standing"
    if report.more_calls:
        caption += f"; the first {len(report.calls):,}"
    if len(lanes) > LANES_MAX:
        caption += f"; the first {LANES_MAX} of {len(lanes)} {what}s"
    return Picture(name="calls", caption=caption, spec=spec)


def _lane(row: dict[str, Any], alone: bool) -> str:
    if alone:
        return short(NO_STEP if row["step"] is None else row["step"])
    return short(f"{row['framework']}/{row['run_id']}" if row["framework"] else row["run_id"])


def _minutes(number: int, minutes: Minutes) -> Picture:
    """Book above, bill below, and what is left between them, of one key's window."""
    values: list[dict[str, Any]] = []
    for row in minutes.rows:
        book = _total(row, "book")
        bill = _total(row, "bill")
        at = _moment(row["minute"])
        values += [{"minute": at, "side": side, "tokens": tokens} for side, tokens in (("book", book), ("bill", bill))]
    left = [
        {"minute": _moment(row["minute"]), "left": (_total(row, "bill") or 0) - (_total(row, "book") or 0)}
        for row in minutes.rows
        if row["bill_input_tokens"] is not None
    ]
    axis = _time_axis(minutes.rows[0]["minute"], minutes.rows[-1]["minute"])
    time = {"field": "minute", "type": "temporal", "timeUnit": "utcyearmonthdatehoursminutes"} | axis
    spec = {
        "vconcat": [
            {
                "width": WIDTH - 40,
                "height": 130,
                "data": {"values": [each for each in values if each["tokens"] is not None]},
                "mark": {"type": "bar"},
                "encoding": {
                    "x": time | {"title": None},
                    "xOffset": {"field": "side", "sort": ["book", "bill"]},
                    "y": {"field": "tokens", "type": "quantitative", "title": "tokens"},
                    "color": _colours("side", [("book", BLUE), ("bill", ORANGE)]),
                },
            },
            {
                "width": WIDTH - 40,
                "height": 55,
                "data": {"values": left},
                "mark": {"type": "bar", "color": RED},
                "encoding": {
                    "x": time,
                    "y": {"field": "left", "type": "quantitative", "title": "bill - book"},
                },
            },
        ],
        "resolve": {"scale": {"x": "shared"}},
    }
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", minutes.run).strip("-.")[:60]
    return Picture(
        name=f"minutes-{number}-{plain}",
        caption=f"Book and bill by minute, input and output tokens: {minutes.run}, {minutes.api_key_id},"
        f" {minutes.window}",
        spec=spec,
    )


def _total(row: dict[str, Any], side: str) -> int | None:
    told = [row[f"{side}_{name}_tokens"] for name in ("input", "output")]
    return None if told == [None, None] else sum(count for count in told if count is not None)


def _colours(field: str, used: Sequence[tuple[str, str]]) -> dict[str, Any]:
    scale = {"domain": [name for name, _ in used], "range": [colour for _, colour in used]}
    return {"field": field, "type": "nominal", "title": None, "scale": scale}


def _time_axis(start: datetime, end: datetime) -> dict[str, Any]:
    """How times are written on an axis: by the hour within a day or so, else by the day."""
    if (end - start).total_seconds() <= DAY_S:
        return {"axis": {"format": "%H:%M", "labelOverlap": True}, "title": f"UTC, {start:%Y-%m-%d}"}
    return {"axis": {"format": "%m-%d %H:%M", "labelOverlap": True}, "title": f"UTC, {start:%Y}"}


def _moment(at: datetime) -> str:
    return f"{at.isoformat(timespec='milliseconds')}Z"
