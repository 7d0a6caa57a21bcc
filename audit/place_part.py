"""The placement of one part: its counted calls and its bill, model by model, on the fields that are compared.

Where calls or bill rows are silent about cached tokens, that field is left out of the search. Pure but for its clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..data.call import Standing
from .placement import Amounts, Kind, Placed, Placement, Put, place
from .span import MARGIN_MIN, Window
from .unit import FIELDS, BillRow, BookRow, Comparison, Field, bill_amount, book_amount

_WORST_FIRST = (Placement.IMPOSSIBLE, Placement.NOT_DECIDED, Placement.PLACED)


def place_part(
    window: Window,
    *,
    book: Sequence[BookRow],
    bill: Sequence[BillRow],
    comparison: Comparison,
    shift_min: int,
    now_s: Callable[[], float],
) -> Placed:
    """Place every counted call. `book`: rows of equal calls; `now_s`: seconds of a clock that only goes forward.

    The witness names rows of `book` by their place in it.
    """
    found = []
    witness: list[Put] = []
    for pair in comparison.pairs:
        silent = any(
            unit.pair is pair and unit.field is Field.CACHED and (unit.book_silent or unit.bill_silent)
            for unit in comparison.units
        )
        fields = [each for each in FIELDS[pair.usage_endpoint] if not (silent and each is Field.CACHED)]
        rows = [
            (at, row)
            for at, row in enumerate(book)
            if row.standing is Standing.COUNTED
            and row.usage_endpoint == pair.usage_endpoint
            and row.model in pair.book_models
        ]
        kinds = [
            Kind(
                first=max(row.first_minute, window.start),
                last=min(row.last_minute, window.end - 1),
                amounts=tuple(book_amount(row, each) // row.calls for each in fields),
                calls=row.calls,
                ended=row.last_minute - MARGIN_MIN - shift_min,
            )
            for _, row in rows
        ]
        billed: dict[int, Amounts] = {}
        for row in bill:
            if not row.batch and row.usage_endpoint is pair.usage_endpoint and row.model in pair.bill_models:
                told = tuple(bill_amount(row, each) for each in fields)
                before = billed.get(row.minute, (0,) * len(fields))
                billed[row.minute] = tuple(a + b for a, b in zip(before, told, strict=True))
        found.append(place(kinds, billed, now_s=now_s))
        witness += [replace(put, kind=rows[put.kind][0]) for put in found[-1].witness]
    outcome = min((each.outcome for each in found), key=_WORST_FIRST.index, default=Placement.PLACED)
    return Placed(
        outcome=outcome,
        late_min=max((each.late_min for each in found), default=0),
        nodes=sum(each.nodes for each in found),
        witness=tuple(witness) if outcome is Placement.PLACED else (),
    )
