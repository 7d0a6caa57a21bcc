"""The placement of one clean chain: its counted calls and its bill, model by model, on the fields that are compared.

It is evidence beside the least amount. Pure but for its clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .placement import Kind, Placed, Placement, place
from .solve import Solved, billed_by_minute
from .window import MARGIN_MIN

PLACED_CALLS_MAX = 20_000
"""With more counted calls in a chain no placement is searched for."""

_WORST_FIRST = (Placement.IMPOSSIBLE, Placement.NOT_DECIDED, Placement.PLACED)


def place_chain(solved: Sequence[Solved], *, shift_min: int, now_s: Callable[[], float]) -> Placed | None:
    """Place every counted call; None: too many, or not told call by call.

    `now_s`: seconds of a clock that only goes forward.
    """
    rows = [row for each in solved for row in each.rows]
    if sum(row.calls for row in rows) > PLACED_CALLS_MAX or not all(row.apart for row in rows):
        return None
    found = []
    for each in solved:
        kinds = [
            Kind(
                first=row.first_minute,
                last=row.last_minute,
                amounts=tuple(row.amount(field) // row.calls for field in each.fields),
                calls=row.calls,
                ended=row.last_minute - MARGIN_MIN - shift_min,
            )
            for row in each.rows
        ]
        found.append(place(kinds, billed_by_minute(each.bill, each.fields, each.borders.until), now_s=now_s))
    return Placed(
        outcome=min((each.outcome for each in found), key=_WORST_FIRST.index, default=Placement.PLACED),
        late_min=max((each.late_min for each in found), default=0),
        nodes=sum(each.nodes for each in found),
    )
