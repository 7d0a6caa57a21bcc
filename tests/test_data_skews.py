"""How far the provider's clock is from each process's, and whose clock a mark was made by."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_play import NOON_US, Play

from submeter.data.call import Edge, MarkedBy
from submeter.data.clock import US_PER_S
from submeter.data.journal import Journal

SKEWS = (
    "SELECT skew_us // 1000000, calls FROM process_skews JOIN processes USING (file_id) ORDER BY started_at, file_id"
)
MARKS = (
    "SELECT m.run_id, s.skew_us // 1000000, s.skew_known FROM marks AS m"
    " JOIN mark_skews AS s USING (file_id, line_offset) ORDER BY m.run_id, m.marked_at"
)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def dated(play: Play, *skews_s: float, journal: Journal | None = None) -> None:
    """One call each whose `Date` is so many seconds from our clock, cut to whole seconds as `Date` is."""
    for skew_s in skews_s:
        now_us = play.clock.now_us()
        date_us = (now_us + int(skew_s * US_PER_S)) // US_PER_S * US_PER_S
        play.settle(play.start(journal=journal), journal=journal, first_byte_at=now_us, server_date=date_us)


def other_host(play: Play, host: str, *, mode: str = "proxy") -> Journal:
    """A process of another host, its journal copied in."""
    journal = Journal.open(play.path, mode=mode, clock=play.clock)
    journal.begin(upstream="http://127.0.0.1:9" if mode == "proxy" else None)
    text = journal.path.read_bytes()
    ours = text.partition(b'"host":"')[2].partition(b'"')[0]
    journal.path.write_bytes(text.replace(b'"host":"' + ours, b'"host":"' + host.encode(), 1))
    return journal


@pytest.mark.parametrize(
    ("skews_s", "skew_s"),
    [
        ((0,), 0),
        ((-0.9, -0.2, 0), 0),
        ((14,), 0),
        ((16,), 30),
        ((-16.2,), -30),
        ((61, 60, 62), 60),
        ((0, 0, 3600), 0),
        ((-90, 3600, -90, 0), -90),
    ],
)
def test_a_process_is_off_by_the_median_of_its_calls_in_steps_of_half_a_minute(
    play: Play, skews_s: tuple[float, ...], skew_s: int
) -> None:
    dated(play, *skews_s)
    assert play.told(SKEWS) == [(skew_s, len(skews_s))]


def test_calls_of_later_turns_count_with_those_before(play: Play) -> None:
    dated(play, 0)
    assert play.told(SKEWS) == [(0, 1)]
    dated(play, 60, 60)
    assert play.told(SKEWS) == [(60, 3)]
    assert play.told("SELECT count(*) FROM process_skew_steps") == [(2,)]
    assert play.ledger.check().clean
    play.ledger.rebuild()
    assert play.told(SKEWS) == [(60, 3)]


def test_a_process_whose_calls_told_no_date_has_no_known_clock(play: Play) -> None:
    play.call()
    assert play.told(SKEWS) == []


def test_each_process_has_a_clock_of_its_own(play: Play) -> None:
    dated(play, 0)
    play.wait(1)
    dated(play, -120, journal=play.open_journal())
    assert play.told(SKEWS) == [(0, 1), (-120, 1)]


def test_a_mark_of_a_proxy_is_by_the_proxys_own_clock(play: Play) -> None:
    dated(play, 60)
    later = play.open_journal()
    dated(play, -60, journal=later)
    play.mark(Edge.BEGIN, run_id="own")
    play.mark(Edge.BEGIN, run_id="theirs", journal=later)
    assert play.told(MARKS) == [("own", 60, True), ("theirs", -60, True)]


def test_a_mark_of_another_process_is_by_the_clock_of_the_proxy_that_was_up_then(play: Play) -> None:
    dated(play, 60)
    play.wait(100)
    play.mark(Edge.BEGIN, run_id="r", journal=play.open_journal("mark"))
    play.wait(100)
    later = play.open_journal()
    dated(play, -60, journal=later)
    play.mark(Edge.END, run_id="r", journal=play.open_journal("mark"))
    assert play.told(MARKS) == [("r", 60, True), ("r", -60, True)]


def test_a_mark_made_while_no_proxy_was_up_is_by_no_known_clock(play: Play) -> None:
    dated(play, 60)
    play.journal.close()
    play.wait(3600)
    play.mark(Edge.BEGIN, run_id="r", journal=play.open_journal("mark"))
    assert play.told(MARKS) == [("r", 0, False)]


def test_an_imported_mark_after_the_last_line_of_its_hosts_proxy_is_by_that_clock_not_by_another_hosts(
    play: Play,
) -> None:
    there, elsewhere = other_host(play, "there"), other_host(play, "elsewhere")
    play.wait(5)
    dated(play, 60, journal=there)
    dated(play, -600, journal=elsewhere)
    play.wait(60)
    dated(play, -600, journal=elsewhere)
    marks = other_host(play, "there")
    play.mark(Edge.END, run_id="r", journal=marks, at=NOON_US + 30 * US_PER_S, by=MarkedBy.METRICS)
    assert play.told(MARKS) == [("r", 60, True)]


def test_a_proxy_without_a_known_clock_lends_none_and_an_older_one_does(play: Play) -> None:
    dated(play, 60)
    play.wait(10)
    play.open_journal()
    play.mark(Edge.BEGIN, run_id="r", journal=play.open_journal("mark"))
    assert play.told(MARKS) == [("r", 60, True)]


def test_the_proxy_of_another_host_lends_its_clock_to_imported_marks_alone(play: Play) -> None:
    there = other_host(play, "there")
    play.wait(5)
    dated(play, 60, journal=there)
    play.wait(5)
    dated(play, 60, journal=there)
    marks = play.open_journal("mark")
    at = NOON_US + 6 * US_PER_S
    play.mark(Edge.BEGIN, run_id="cli", journal=marks, at=at)
    play.mark(Edge.BEGIN, run_id="imported", journal=marks, at=at, by=MarkedBy.METRICS)
    assert play.told(MARKS) == [("cli", 0, False), ("imported", 60, True)]
    dated(play, -60)
    assert play.told(MARKS) == [("cli", -60, True), ("imported", -60, True)]


def test_every_mark_has_one_row(play: Play) -> None:
    for _ in range(3):
        dated(play, 60, journal=play.open_journal())
    for number in range(5):
        play.mark(Edge.BEGIN, run_id=f"r-{number}", journal=play.open_journal("mark"))
    assert play.told("SELECT count(*), count(DISTINCT (file_id, line_offset)) FROM mark_skews") == [(5, 5)]
