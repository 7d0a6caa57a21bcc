"""The border form asked of a world: its own books at one moment, in the shape that `border_form` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import border_form
from referee_calls import IMAGE, NEW_NAME, SPEECH, Call
from referee_moment import ENDPOINTS, Moment
from referee_truth import run_of

CALLS_MAX = 60


def finds_clear(moment: Moment, found: Any, share: Any) -> bool | None:
    """Whether the border form, from the world's own books, finds a run clear; None: not asked of such a chain."""
    window, run = found.chain.window, run_of(share)
    counted = [
        call
        for call in moment.calls
        if call.begin_minute() in window
        and (call.standing == "counted" or (call.optional and moment.world.optional_billed))
        and call.shown_standing(moment.now) != "unknown"
    ]
    if (
        run is None
        or share.ambiguous
        or len(counted) > CALLS_MAX
        or (not moment.world.optional_known and any(c.optional for c in moment.calls))
    ):
        return None
    segments = moment.segments.get(window)
    if segments is None:
        segments = moment.segments[window] = list(_segments(moment, window, counted))
    own_window = (share.window.start, share.window.end - 1)
    for endpoint, model, found_here in segments:
        ends = [
            call.end_minute(moment.now)
            for call in counted
            if call.usage_endpoint == endpoint and call.model == model and call.run == run and call.labelled
        ]
        if not border_form.clears(found_here, *own_window, ends):
            return False
    return True


def _segments(
    moment: Moment, window: Any, counted: Sequence[Call]
) -> Iterator[tuple[str, str, list[border_form.Segment]]]:
    """What the border form makes of each model of a chain, by usage endpoint and the book's name."""
    paired = moment.renamed_paired
    names = {
        (call.usage_endpoint, call.model, NEW_NAME if paired and call.bill_model == NEW_NAME else call.model)
        for call in counted
    }
    for each in ENDPOINTS:
        for minute, rows in moment.world.shown(moment.key, each, moment.now).items():
            if minute in window:
                names |= {
                    (each, model, model)
                    for model, batch in rows
                    if not batch
                    and not (paired and model == NEW_NAME)
                    and (each != "completions" or model not in (IMAGE, SPEECH))
                }
    for endpoint, model, bill_model in sorted(names):
        calls = [call for call in counted if call.usage_endpoint == endpoint and call.model == model]
        places = [0, 1, 2] if endpoint == "completions" else [0] if endpoint == "embeddings" else [3]
        if any(call.silent for call in calls):
            places = [0, 2]
        bill = {
            minute: tuple(rows[bill_model, False][place] for place in places)
            for minute, rows in moment.world.shown(moment.key, endpoint, moment.now).items()
            if (bill_model, False) in rows and minute in window
        }
        billed = [_billed(moment, call, places) for call in calls]
        yield endpoint, model, border_form.segments(window.start, window.end, billed, bill, len(places))


def _billed(moment: Moment, call: Call, places: Sequence[int]) -> border_form.Billed:
    end = call.end_minute(moment.now)
    return border_form.Billed(
        first=call.begin_minute() - 1,
        end=end,
        last=end + 1 + moment.world.shift,
        tokens=tuple(call.tokens[place] for place in places),
        loose=call.loose,
    )
