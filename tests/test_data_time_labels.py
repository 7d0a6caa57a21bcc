"""Unlabelled calls and imported runs: labels by time, whichever order things come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import NOON_US, Play

from submeter.data.call import Edge, LabelSource, MarkedBy, Operation, Outcome, Usage
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
    """A whole run, taken in when it is over (or, where it ends in the far future, an hour after noon)."""
    play.clock.set_us(max(play.clock.now_us(), NOON_US + int(min(end_s, 3600) * US_PER_S)))
    imported(play, Edge.BEGIN, None, begin_s, run_id)
    for step, from_s, to_s in steps:
        imported(play, Edge.BEGIN, step, from_s, run_id)
        imported(play, Edge.END, step, to_s, run_id)
    imported(play, Edge.END, None, end_s, run_id)


def call_at(play: Play, at_s: float, framework: str | None = "baes", **said: object) -> str:
    """One call without a label; its id."""
    play.clock.set_us(NOON_US + int(at_s * US_PER_S))
    return play.call(None, None, framework=framework, took_s=0, **said).call_id


def test_an_unlabelled_call_takes_the_imported_step_it_began_in(play: Play) -> None:
    for at_s in (9, 10, 15, 20, 25, 30, 33.5):
        call_at(play, at_s)
    import_run(play, 10.2, ("1", 10, 20), ("2", 20, 30), end_s=33)
    assert play.told(LABELS) == [
        (None, None, None, False),
        (None, None, None, False),
        ("r-1", "1", "time", False),
        ("r-1", "2", "time", True),
        ("r-1", "2", "time", False),
        ("r-1", None, "time", True),
        (None, None, None, False),
    ]
    assert play.told("SELECT step, calls, input_tokens FROM step_usage ORDER BY step") == [
        ("1", 1, 10),
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


USAGE = "SELECT run_id, calls, ambiguous, input_tokens, output_tokens, images FROM run_usage ORDER BY run_id"
STEP_USAGE = "SELECT run_id, step, calls, ambiguous, input_tokens FROM step_usage ORDER BY run_id, step"


def test_a_call_of_two_imported_runs_at_once_is_of_neither_and_neither_has_a_sum(play: Play) -> None:
    calls = [call_at(play, at_s) for at_s in (12, 17, 25)]
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    import_run(play, 15, ("1", 15, 30), end_s=30, run_id="b")
    import_run(play, 40, ("1", 40, 50), end_s=50, run_id="c")
    assert play.told(LABELS) == [("a", "1", "time", False), (None, None, None, False), ("b", "1", "time", False)]
    assert play.told("SELECT call_id, framework, run_id, step FROM ambiguous_calls ORDER BY run_id") == [
        (calls[1], "baes", "a", "1"),
        (calls[1], "baes", "b", "1"),
    ]
    assert play.told(USAGE) == [("a", 1, 1, None, None, None), ("b", 1, 1, None, None, None), ("c", 0, 0, 0, 0, 0)]
    assert play.told(STEP_USAGE) == [("a", "1", 1, 1, None), ("b", "1", 1, 1, None), ("c", "1", 0, 0, 0)]


def test_imported_runs_that_only_touch_share_no_call(play: Play) -> None:
    for at_s in (12, 20, 25):
        call_at(play, at_s)
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    import_run(play, 20, ("1", 20, 30), end_s=30, run_id="b")
    assert [row[:2] for row in play.told(LABELS)] == [("a", "1"), ("b", "1"), ("b", "1")]
    assert [row[:4] for row in play.told(USAGE)] == [("a", 1, 0, 10), ("b", 2, 0, 20)]


def test_imported_runs_that_overlap_while_nothing_was_called_have_their_sums(play: Play) -> None:
    for at_s in (12, 25):
        call_at(play, at_s)
    import_run(play, 10, end_s=20, run_id="a")
    import_run(play, 15, end_s=30, run_id="b")
    assert [row[:4] for row in play.told(USAGE)] == [("a", 1, 0, 10), ("b", 1, 0, 10)]


def test_step_times_cut_to_the_second_make_no_runs_overlap(play: Play) -> None:
    for at_s in (20.3, 20.8):
        call_at(play, at_s)
    import_run(play, 10.2, ("1", 10, 20), end_s=20.5, run_id="a")
    import_run(play, 20.6, ("1", 20, 30), end_s=30.1, run_id="b")
    assert play.told(LABELS) == [("a", None, "time", True), ("b", "1", "time", True)]
    assert [row[:4] for row in play.told(USAGE)] == [("a", 1, 0, 10), ("b", 1, 0, 10)]


def test_runs_of_two_frameworks_at_once_are_not_ambiguous(play: Play) -> None:
    call_at(play, 15)
    call_at(play, 16, framework="chatdev")
    for framework in ("baes", "chatdev"):
        for edge, at_s in ((Edge.BEGIN, 10), (Edge.END, 20)):
            imported(play, edge, None, at_s, framework=framework)
    assert play.told("SELECT framework, run_id FROM calls ORDER BY started_at") == [("baes", "r-1"), ("chatdev", "r-1")]
    assert play.told("SELECT framework, ambiguous, input_tokens FROM run_usage ORDER BY framework") == [
        ("baes", 0, 10),
        ("chatdev", 0, 10),
    ]


def test_a_labelled_call_in_the_time_of_two_runs_makes_neither_doubtful(play: Play) -> None:
    play.clock.set_us(NOON_US + 17 * US_PER_S)
    play.call("a", "1", framework="baes")
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    import_run(play, 15, ("1", 15, 30), end_s=30, run_id="b")
    assert [row[:4] for row in play.told(USAGE)] == [("a", 1, 0, 10), ("b", 0, 0, 0)]


def test_a_refused_call_or_a_read_makes_no_run_doubtful_and_an_open_call_does(play: Play) -> None:
    play.clock.set_us(NOON_US + 17 * US_PER_S)
    play.call(None, None, framework="baes", took_s=0, outcome=Outcome.REFUSED, status_code=429, counts=Usage())
    play.call(None, None, framework="baes", took_s=0, operation=Operation.READ)
    import_run(play, 10, end_s=20, run_id="a")
    import_run(play, 15, end_s=30, run_id="b")
    assert [row[:4] for row in play.told(USAGE)] == [("a", 0, 0, 0), ("b", 0, 0, 0)]
    play.clock.set_us(NOON_US + 17 * US_PER_S)
    play.start(None, None, framework="baes")
    assert [row[:4] for row in play.told(USAGE)] == [("a", None, 1, None), ("b", None, 1, None)]


def test_a_run_of_which_nothing_but_ambiguous_calls_is_known_shows_no_zero(play: Play) -> None:
    call_at(play, 17)
    for run_id in ("a", "b"):
        import_run(play, 10, ("1", 10, 20), end_s=20, run_id=run_id)
    assert play.told(USAGE) == [(run_id, None, 1, None, None, None) for run_id in ("a", "b")]
    told = play.told("SELECT calls, counted, unknown, optional, uncovered, unbilled, input_tokens FROM step_usage")
    assert told == [(None,) * 7] * 2


def test_a_step_of_a_doubtful_run_has_no_sum_and_the_number_stands_where_it_may_belong(play: Play) -> None:
    for at_s in (12, 25, 26):
        call_at(play, at_s)
    import_run(play, 10, ("1", 10, 20), ("2", 20, 30), end_s=30, run_id="a")
    import_run(play, 24, end_s=40, run_id="b")
    assert play.told(STEP_USAGE) == [("a", "1", 1, 0, None), ("a", "2", None, 2, None), ("b", None, None, 2, None)]


def test_three_runs_at_once_are_told_each(play: Play) -> None:
    call_at(play, 17)
    for run_id, begin_s in (("a", 10), ("b", 12), ("c", 18)):
        import_run(play, begin_s, end_s=20, run_id=run_id)
    assert play.told("SELECT run_id FROM ambiguous_calls ORDER BY ALL") == [("a",), ("b",)]
    assert [row[:4] for row in play.told(USAGE)] == [("a", None, 1, None), ("b", None, 1, None), ("c", 0, 0, 0)]


def test_a_call_whose_run_is_known_takes_its_step_by_time(play: Play) -> None:
    for at_s in (12, 20.5, 25, 35):
        play.clock.set_us(NOON_US + int(at_s * US_PER_S))
        play.call("r-1", None, framework="baes", took_s=0)
    play.clock.set_us(NOON_US + 13 * US_PER_S)
    play.call("r-1", "9", framework="baes", took_s=0)
    play.wait(1).call("other", None, framework="baes", took_s=0)
    import_run(play, 10.2, ("1", 10, 20), ("2", 20, 30), end_s=31)
    assert play.told(LABELS) == [
        ("r-1", "1", "time", False),
        ("r-1", "9", "url", False),
        ("other", None, "url", False),
        ("r-1", "2", "time", True),
        ("r-1", "2", "time", False),
        ("r-1", None, "url", False),
    ]


def test_the_step_of_a_call_whose_run_is_known_does_not_depend_on_other_runs(play: Play) -> None:
    play.clock.set_us(NOON_US + 15 * US_PER_S)
    play.call("a", None, framework="baes", took_s=0)
    play.call("a", None, framework=None, took_s=0)
    play.start("b", None, framework="baes")
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    import_run(play, 12, ("2", 12, 30), end_s=30, run_id="b")
    assert sorted(row[:3] for row in play.told(LABELS)) == [("a", "1", "time"), ("a", "1", "time"), ("b", "2", "time")]


def test_steps_that_overlap_give_no_step(play: Play) -> None:
    for run_id in (None, "r-1"):
        for at_s in (12, 17, 25):
            play.clock.set_us(NOON_US + int(at_s * US_PER_S))
            play.call(run_id, None, framework="baes", took_s=0)
    import_run(play, 10, ("1", 10, 20), ("2", 15, 30), end_s=30)
    told = play.told("SELECT DISTINCT epoch(started_at) % 60, run_id, step FROM calls ORDER BY ALL")
    assert told == [(12, "r-1", "1"), (17, "r-1", None), (25, "r-1", "2")]


def test_a_step_without_an_end_lasts_until_the_next_begins(play: Play) -> None:
    for at_s in (12, 25, 39):
        call_at(play, at_s)
    import_run(play, 10, ("2", 20, 30), end_s=40)
    imported(play, Edge.BEGIN, "1", 10)
    imported(play, Edge.BEGIN, "3", 35)
    assert [row[:2] for row in play.told(LABELS)] == [("r-1", "1"), ("r-1", "2"), ("r-1", "3")]


def test_run_marks_of_its_own_leave_an_imported_run_its_steps(play: Play) -> None:
    play.clock.set_us(NOON_US + 10 * US_PER_S)
    play.begin(framework="baes")
    play.clock.set_us(NOON_US + 15 * US_PER_S)
    play.call("r-1", None, framework="baes")
    play.end(framework="baes")
    import_run(play, 10.2, ("1", 10, 20), ("2", 20, 21), end_s=21)
    assert play.told(STEP_USAGE) == [("r-1", "1", 1, 0, 10), ("r-1", "2", 0, 0, 0)]


@pytest.mark.parametrize("end_s", [None, 5, 40 * 86_400])
def test_a_run_without_an_end_that_can_be_may_have_had_any_call_after_its_begin(
    play: Play, end_s: float | None
) -> None:
    call_at(play, 9)
    call_at(play, 15)
    imported(play, Edge.BEGIN, None, 10)
    if end_s is not None:
        imported(play, Edge.END, None, end_s)
    assert [row[0] for row in play.told(LABELS)] == [None, None]
    assert [row[:4] for row in play.told(USAGE)] == [("r-1", None, 1, None)]


def test_a_run_that_goes_on_has_the_calls_until_its_last_mark_and_perhaps_those_of_the_hour_after(play: Play) -> None:
    for at_s in (15, 25, 3619, 3621):
        call_at(play, at_s)
    imported(play, Edge.BEGIN, None, 10)
    imported(play, Edge.BEGIN, "1", 10)
    imported(play, Edge.END, "1", 20)
    assert [row[:2] for row in play.told(LABELS)] == [("r-1", "1"), (None, None), (None, None), (None, None)]
    assert [row[:4] for row in play.told(USAGE)] == [("r-1", 1, 2, None)]


def test_an_imported_run_without_an_end_and_without_a_call_shows_no_zero(play: Play) -> None:
    play.wait(20)
    imported(play, Edge.BEGIN, None, 10)
    imported(play, Edge.BEGIN, "1", 10)
    assert [row[:4] for row in play.told(USAGE)] == [("r-1", None, 0, None)]
    assert play.told(STEP_USAGE) == [("r-1", "1", None, 0, None)]


def test_a_run_of_tomorrow_or_of_the_last_year_there_is_does_no_harm(play: Play) -> None:
    call_at(play, 15)
    import_run(play, 10, ("1", 10, 20), end_s=20)
    import_run(play, 86_400, ("1", 86_400, 86_500), end_s=86_500, run_id="tomorrow")
    import_run(play, 250_000_000_000, ("1", 10, 250_000_000_010), end_s=250_000_000_020, run_id="far")
    assert play.told("SELECT run_id, input_tokens FROM run_usage ORDER BY run_id") == [
        ("far", None),
        ("r-1", 10),
        ("tomorrow", None),
    ]
    assert play.told("SELECT count(*) < 100000 FROM time_labels") == [(True,)]


def test_the_order_of_marks_and_calls_does_not_matter_to_what_is_ambiguous(play: Play) -> None:
    import_run(play, 10, ("1", 10, 20), end_s=20, run_id="a")
    play.ledger.ingest()
    call_at(play, 17)
    play.ledger.ingest()
    import_run(play, 15, ("1", 15, 30), end_s=30, run_id="b")
    before = play.told(USAGE)
    play.ledger.rebuild()
    assert play.told(USAGE) == before == [(run_id, None, 1, None, None, None) for run_id in ("a", "b")]
    assert play.ledger.check().clean


def test_importing_twice_changes_nothing(play: Play) -> None:
    call_at(play, 15)
    for _ in range(2):
        import_run(play, 10.2, ("1", 10, 20), ("2", 20, 20), ("3", 20, 30), end_s=31)
        play.ledger.ingest()
    assert play.told(LABELS) == [("r-1", "1", "time", False)]
    assert play.told("SELECT episode, end_source FROM runs") == [(1, "metrics")]
    assert play.told("SELECT step, visit FROM steps ORDER BY step, visit") == [("1", 1), ("2", 1), ("3", 1)]


def test_a_run_begins_when_its_file_says_and_not_with_a_step_that_was_cut_to_the_second(play: Play) -> None:
    import_run(play, 10.2, ("1", 10, 20), end_s=20.7)
    rows = play.told("SELECT episode, epoch_us(started_at), epoch_us(ended_at), end_source, begun_by FROM runs")
    assert rows == [(1, NOON_US + 10_200_000, NOON_US + 20_700_000, "metrics", "metrics")]
    assert play.told("SELECT step, epoch_us(started_at) FROM steps") == [("1", NOON_US + 10_200_000)]


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
