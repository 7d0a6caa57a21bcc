"""Runs that were begun once and ended once are told of in short; what is said of them is what `runs` says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ledger_play import NOON_US, Play

from submeter.audit.episodes import episodes
from submeter.audit.questions import asking
from submeter.data.call import Edge, MarkedBy
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
        plain = [row for row in asked.rows("audit_plain_runs", asked.since) if row[2]]
        some = episodes(asked)
    names = {row[:2] for row in plain}
    assert RUNS // 4 < len(names) < RUNS * 3 // 4
    assert sorted(map(repr, ((*row[:2], 1, *row[3:]) for row in plain))) == sorted(
        repr(row) for row in whole if row[:2] in names
    )
    assert sorted(
        repr((*each.run, each.episode, each.started_us, each.ended_us, each.end_source)) for each in some
    ) == (sorted(repr(row[:6]) for row in whole))


def mark_all(play: Play, rng: random.Random) -> None:
    """Runs of every kind of mark: imported beside own ones, clocks that step back, a run id that processes and
    frameworks share, marks without a framework."""
    journals = [play.journal, play.open_journal("mark"), play.open_journal()]
    for number in range(RUNS):
        run_id = f"r-{number // 2 if rng.random() < 0.3 else number}"
        began = NOON_US + rng.randrange(0, 90_000) * 100_000
        ended = began + rng.randrange(1, 30_000) * 100_000
        framework = rng.choice(("chatdev", "chatdev", "chatdev", "baes", None))
        odd = rng.random() < 0.4
        journal = rng.choice(journals)
        sources = rng.choice(([MarkedBy.CLI], [MarkedBy.CLI], [MarkedBy.METRICS], [MarkedBy.CLI, MarkedBy.METRICS]))
        for by in sources * (2 if odd and rng.random() < 0.2 else 1):
            told: list[tuple[int, Edge, str | None]] = [(began, Edge.BEGIN, None), (ended, Edge.END, None)]
            if rng.random() < 0.6:
                second = (began + rng.randrange(ended - began)) // US_PER_S * US_PER_S
                told.insert(1, (began // US_PER_S * US_PER_S if by is MarkedBy.METRICS else began, Edge.BEGIN, "1"))
                told.insert(2, (max(began, second), rng.choice((Edge.BEGIN, Edge.END)), "2"))
            if odd:
                told = [(at + rng.choice((0, 0, -900_000, 500_000)), edge, step) for at, edge, step in told]
                rng.shuffle(told)
                told = told[: rng.randint(1, len(told))]
            for at, edge, step in told:
                of = (framework or "baes") if by is MarkedBy.METRICS else None if rng.random() < 0.05 else framework
                play.clock.set_us(max(play.clock.now_us(), at))
                one = rng.choice(journals) if odd else journal
                play.mark(edge, step, run_id=run_id, framework=of, by=by, at=at, journal=one)
        if rng.random() < 0.3:
            play.clock.set_us(max(play.clock.now_us(), ended))
            at_us = play.clock.now_us()
            skew_us = 90 * US_PER_S if rng.random() < 0.7 else 0
            start = play.start(run_id, framework=framework, journal=journals[2])
            journal = rng.choice((journals[0], journals[2]))
            play.settle(start, journal=journal, first_byte_at=at_us, server_date=at_us + skew_us)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_marks_there_are_every_episode_is_told_as_runs_tells_it(tmp_path: Path, seed: int) -> None:
    play = Play(tmp_path / "l")
    mark_all(play, random.Random(seed))
    play.clock.sleep(7200)
    play.ledger.ingest()
    with asking(play.ledger) as asked:
        whole = asked.rows("audit_runs", {"run_ids": None})
        others = {row[1] for row in asked.rows("audit_plain_runs", asked.since) if not row[2]}
        some = episodes(asked)
    assert sorted(
        repr((*each.run, each.episode, each.started_us, each.ended_us, each.end_source, each.skew_known))
        for each in some
    ) == sorted(map(repr, whole))
    assert len({row[1] for row in whole} - others) > RUNS // 10
