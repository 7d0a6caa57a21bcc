"""Runs that were begun once and ended once are told of in short; what is said of them is what `runs` says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ledger_play import NOON_US, Play

from submeter.audit.episodes import episodes
from submeter.audit.questions import asking
from submeter.data.call import MarkedBy
from submeter.data.clock import US_PER_S

RUNS = 90


def events_of(rng: random.Random, run_id: str) -> list[tuple[int, str, str]]:
    """Second, run and event of one run: half of them plain, the others in any order, some more than once."""
    first = rng.randrange(0, 7200, 30)
    if rng.random() < 0.5:
        last = first + rng.randrange(30, 6000, 30)
        inside = [
            (rng.randrange(first, last, 30), run_id, rng.choice(("call", "call", "step", "step end"))) for _ in "12345"
        ]
        return [(first, run_id, "begin"), *inside, (last, run_id, "end")]
    kinds = [
        "begin",
        "end",
        "call",
        "step",
        "step end",
        rng.choice(("begin", "end", "call")),
        rng.choice(("call", "step")),
    ]
    some = rng.sample(kinds, rng.randint(1, len(kinds)))
    return [(first + rng.randrange(0, 9000, 30), run_id, kind) for kind in some]


def play_all(play: Play, rng: random.Random) -> None:
    names = [f"r-{number}" for number in range(RUNS)]
    told = sorted(event for name in names for event in events_of(rng, name))
    for second, run_id, kind in told:
        play.clock.set_us(max(play.clock.now_us(), NOON_US + second * US_PER_S))
        framework = None if int(run_id[2:]) % 7 == 0 else "chatdev"
        match kind:
            case "call":
                play.settle(play.start(run_id, framework=framework))
            case "begin":
                play.begin(run_id=run_id, framework=framework)
            case "end":
                by = MarkedBy.METRICS if rng.random() < 0.2 else MarkedBy.PYTHON
                play.end(run_id=run_id, framework=framework, by=by)
            case "step":
                play.begin("1", run_id=run_id, framework=framework)
            case _:
                play.end("1", run_id=run_id, framework=framework)


@pytest.mark.parametrize("seed", [1, 2])
def test_plain_runs_are_told_as_runs_tells_them(tmp_path: Path, seed: int) -> None:
    play = Play(tmp_path / "l")
    play_all(play, random.Random(seed))
    play.clock.sleep(7200)
    play.ledger.ingest()
    with asking(play.ledger) as asked:
        whole = asked.rows("audit_runs", {"run_ids": None})
        plain = [row for row in asked.rows("audit_plain_runs") if row[2]]
        some = episodes(asked)
    names = {row[:2] for row in plain}
    assert RUNS // 4 < len(names) < RUNS * 3 // 4
    assert sorted(map(repr, ((*row[:2], 1, *row[3:]) for row in plain))) == sorted(
        repr(row) for row in whole if row[:2] in names
    )
    assert sorted(
        repr((*each.run, each.episode, each.started_us, each.ended_us, each.end_source)) for each in some
    ) == (sorted(repr(row[:6]) for row in whole))
