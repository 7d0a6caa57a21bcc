"""Unlabelled calls and imported runs: labels by time, whichever order things come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import NOON_US, Play

from submeter.data.call import Edge, LabelSource, MarkedBy
from submeter.data.clock import US_PER_S

LABELS = "SELECT run_id, step, label_source, list_contains(flags, 'border') FROM calls ORDER BY started_at, call_id"


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    play = Play(tmp_path)
    yield play
    play.ledger.ingest()
    assert_sums_agree(play.ledger)
    assert_calls_are_whole(play.ledger)
    play.journal.close()


def imported(
    play: Play, edge: Edge, step: str | None, at_s: float, run_id: str = "r-1", framework: str = "baes"
) -> None:
    play.mark(edge, step, run_id=run_id, framework=framework, by=MarkedBy.METRICS, at=NOON_US + int(at_s * US_PER_S))


def import_run(play: Play, begin_s: float, *steps: tuple[str, int, int], end_s: float, run_id: str = "r-1") -> None:
    imported(play, Edge.BEGIN, None, begin_s, run_id)
    for step, from_s, to_s in steps:
        imported(play, Edge.BEGIN, step, from_s, run_id)
        imported(play, Edge.END, step, to_s, run_id)
    imported(play, Edge.END, None, end_s, run_id)


def call_at(play: Play, at_s: float, framework: str | None = "baes", **said: object) -> None:
    play.clock.set_us(NOON_US + int(at_s * US_PER_S))
    play.call(None, None, framework=framework, took_s=0, **said)


def test_an_unlabelled_call_takes_the_imported_step_it_began_in(play: Play) -> None:
    for at_s in (9, 10, 15, 20, 25, 30, 33.5):
        call_at(play, at_s)
    import_run(play, 10.2, ("1", 10, 20), ("2", 20, 30), end_s=33)
    assert play.told(LABELS) == [
        (None, None, None, False),
        ("r-1", "1", "time", True),
        ("r-1", "1", "time", False),
        ("r-1", "2", "time", True),
        ("r-1", "2", "time", False),
        ("r-1", None, "time", True),
        (None, None, None, False),
    ]
    assert play.told("SELECT step, calls, input_tokens FROM step_usage ORDER BY step") == [
        ("1", 2, 20),
        ("2", 2, 20),
        (None, 1, 10),
    ]


def test_a_call_of_another_framework_or_of_none_is_not_labelled(play: Play) -> None:
    call_at(play, 15, framework="chatdev")
    call_at(play, 16, framework=None)
    import_run(play, 10, ("1", 10, 20), end_s=20)
    assert play.told(LABELS) == [(None, None, None, False)] * 2


def test_a_labelled_call_is_never_moved(play: Play) -> None:
    play.clock.set_us(NOON_US + 15 * US_PER_S)
    play.call("mine", None, framework="baes")
    play.call(None, "7", framework="baes")
    import_run(play, 10, ("1", 10, 30), end_s=30)
    assert play.told(LABELS) == [("mine", None, LabelSource.URL, False), (None, "7", LabelSource.URL, False)]


def test_where_two_imported_runs_overlap_there_is_no_label(play: Play) -> None:
    for at_s in (12, 17, 25):
        call_at(play, at_s)
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    import_run(play, 15, ("1", 15, 30), end_s=30, run_id="b")
    assert play.told(LABELS) == [("a", "1", "time", False), (None, None, None, False), ("b", "1", "time", False)]


def test_importing_twice_changes_nothing(play: Play) -> None:
    call_at(play, 15)
    for _ in range(2):
        import_run(play, 10.2, ("1", 10, 20), ("2", 20, 20), ("3", 20, 30), end_s=31)
        play.ledger.ingest()
    assert play.told(LABELS) == [("r-1", "1", "time", False)]
    assert play.told("SELECT episode, end_source FROM runs") == [(1, "metrics")]
    assert play.told("SELECT step, visit FROM steps ORDER BY step, visit") == [("1", 1), ("2", 1), ("3", 1)]


def test_a_run_begins_with_its_first_step_where_that_was_cut_to_the_second(play: Play) -> None:
    import_run(play, 10.2, ("1", 10, 20), end_s=20.7)
    rows = play.told("SELECT episode, epoch_us(started_at), epoch_us(ended_at), end_source, begun_by FROM runs")
    assert rows == [(1, NOON_US + 10 * US_PER_S, NOON_US + 20_700_000, "metrics", "metrics")]


def test_imported_steps_yield_to_steps_that_were_marked_while_they_happened(play: Play) -> None:
    play.clock.set_us(NOON_US + 10 * US_PER_S)
    play.begin(framework="baes")
    play.begin("1", framework="baes")
    play.clock.set_us(NOON_US + 20 * US_PER_S)
    play.end("1", framework="baes")
    play.end(framework="baes")
    import_run(play, 10.2, ("1", 10, 20), end_s=20.7)
    assert play.told("SELECT step, visit, begun_by FROM steps") == [("1", 1, "cli")]
    assert play.told("SELECT episode, end_source FROM runs") == [(1, "mark")]


def test_the_order_in_which_journals_come_in_does_not_matter(play: Play, tmp_path: Path) -> None:
    marks = play.open_journal("metrics")
    calls = play.journal
    for at_s in (12, 40):
        call_at(play, at_s)
    play.journal = marks
    import_run(play, 10, ("1", 10, 20), end_s=20)
    marks.close()
    play.journal = calls
    play.ledger.ingest()
    answers = [play.told(LABELS)]
    text = {path: path.read_bytes() for path in (marks.path, calls.path)}
    for first, second in ((marks.path, calls.path), (calls.path, marks.path)):
        other = Play(tmp_path / first.stem[-6:])
        other.journal.close()
        for path in (first, second):
            (other.journal.path.parent / path.name).write_bytes(text[path])
            other.ledger.ingest()
        answers.append(other.told(LABELS))
        other.ledger.rebuild()
        answers.append(other.told(LABELS))
    assert answers == [[("r-1", "1", "time", False), (None, None, None, False)]] * 5
