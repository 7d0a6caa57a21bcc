"""How long after its end a run has its final verdict: ten runs one after the other on one key, with the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_world import World, world

MINUTE = 60.0
RUNS = 10
RUN_MIN = 15
TICK_MIN = 30
HIDING = "r-4"


class Schedule:
    """`submeter audit --pending` every half hour, and when each run got its final verdict."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.next_s = TICK_MIN * MINUTE
        self.final: dict[str, tuple[float, str]] = {}

    def until(self, second: float) -> None:
        """Let the time pass, with every audit that falls into it."""
        while self.next_s <= second:
            self.here.at(max(self.next_s, self.here.second))
            for line in self.here.audit(pending=True).runs:
                if line.final and line.run:
                    self.final.setdefault(line.run[1], (self.here.second, str(line.verdict)))
            self.next_s += TICK_MIN * MINUTE
        self.here.at(max(second, self.here.second))


def minutes_to_final(folder: Path, *, gap_min: float, hidden: bool) -> dict[str, tuple[float, str]]:
    """Minutes from the end of each run to its final verdict, and the verdict."""
    ended: dict[str, float] = {}
    with world(folder) as here:
        schedule = Schedule(here)
        for number in range(RUNS):
            run = f"r-{number}"
            here.mark(run, "begin")
            for call in range(RUN_MIN // 3):
                here.call(run=run, tokens=(1_000 + 37 * number + call, 40, 10 + call))
                if hidden and run == HIDING and call == 2:
                    here.call(metered=False, tokens=(777, 0, 55))
                schedule.until(here.second + 3 * MINUTE - 5)
            here.mark(run, "end")
            ended[run] = here.second
            schedule.until(here.second + gap_min * MINUTE)
        schedule.until(here.second + 5 * 60 * MINUTE)
    return {run: ((schedule.final[run][0] - ended[run]) / MINUTE, schedule.final[run][1]) for run in ended}


@pytest.mark.parametrize(("gap_min", "hidden", "most_min"), [(10, True, 100), (3, False, 160)], ids=["10", "3"])
def test_ten_runs_one_after_the_other_have_final_verdicts_in_hours(
    tmp_path: Path, gap_min: float, hidden: bool, most_min: float
) -> None:
    found = minutes_to_final(tmp_path, gap_min=gap_min, hidden=hidden)
    print({run: (round(minutes), verdict) for run, (minutes, verdict) in found.items()})
    assert {run: verdict for run, (_, verdict) in found.items()} == {
        run: "short" if hidden and run == HIDING else "verified" for run in found
    }
    assert max(minutes for minutes, _ in found.values()) <= most_min
    assert min(minutes for minutes, _ in found.values()) >= 60, "no rule bends for an early verdict"
