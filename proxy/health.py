"""How many calls and lines a proxy holds now, for `/_submeter/health`. Pure."""

from __future__ import annotations

from .place import WorkerPlace
from .recorder import Recorder


def held_now(recorder: Recorder, place: WorkerPlace | None) -> dict[str, int]:
    """Counts of one proxy; where this is one of its workers, those of all."""
    if place is None:
        return {
            "calls_open": len(recorder.open),
            "calls_settled": recorder.settled,
            "lines_waiting": recorder.journal.lines_waiting,
        }
    rows = place.board.rows()
    return {
        "workers": place.count,
        "calls_open": sum(row.calls_open for row in rows),
        "calls_settled": sum(row.settled for row in rows),
        "lines_waiting": sum(row.lines_waiting for row in rows),
    }
