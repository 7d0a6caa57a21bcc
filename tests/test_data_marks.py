"""Which run and step is open, as marks come and go."""

from __future__ import annotations

import pytest

from submeter.data.call import Edge, MarkedBy
from submeter.data.error import SubmeterError
from submeter.data.marks import IDLE_US, Mark, MarkBook, check_run_id, check_step, run_name, split_run

T0 = 1_790_000_000_000_000
MINUTE = 60_000_000


def mark(edge: Edge, run_id: str, step: str | None = None, *, framework: str | None = "baes", at: int = T0) -> Mark:
    return Mark(
        kind="run" if step is None else "step",
        framework=framework,
        run_id=run_id,
        step=step,
        edge=edge,
        by=MarkedBy.CLI,
        marked_at=at,
    )


def test_a_begun_run_is_the_one_open_run_of_its_framework() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    assert book.open_run("baes", T0) == ("baes", "r-1")
    assert book.open_run("chatdev", T0) is None


def test_an_ended_run_is_open_no_more() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    book.apply(mark(Edge.END, "r-1"))
    assert book.open_run("baes", T0) is None


def test_two_open_runs_of_a_framework_are_never_guessed_between() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    book.apply(mark(Edge.BEGIN, "r-2"))
    assert book.open_run("baes", T0) is None


def test_a_bare_run_id_that_is_open_in_two_frameworks_is_refused_with_their_names() -> None:
    book = MarkBook()
    for framework in ("baes", "ghspec"):
        book.apply(mark(Edge.BEGIN, "r-1", framework=framework))
    with pytest.raises(SubmeterError, match="more than one open run 'r-1'") as refused:
        book.check_whole(mark(Edge.BEGIN, "r-1", "1", framework=None))
    assert refused.value.why == "They are: baes/r-1, ghspec/r-1."
    book.check_whole(mark(Edge.BEGIN, "r-1", "1"))
    book.check_whole(mark(Edge.BEGIN, "r-2", "1", framework=None))


def test_a_step_opens_its_run_and_the_next_step_ends_it() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1", "1"))
    assert book.open_step("baes", "r-1") == "1"
    book.apply(mark(Edge.BEGIN, "r-1", "2"))
    assert book.open_step("baes", "r-1") == "2"
    book.apply(mark(Edge.END, "r-1", "1"))
    assert book.open_step("baes", "r-1") == "2"
    book.apply(mark(Edge.END, "r-1", "2"))
    assert book.open_step("baes", "r-1") is None
    assert book.open_run("baes", T0) == ("baes", "r-1")


def test_the_same_run_id_in_two_frameworks_is_two_runs() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1", framework="baes"))
    book.apply(mark(Edge.BEGIN, "r-1", framework="chatdev"))
    assert book.open_run("baes", T0) == ("baes", "r-1")
    assert book.framework_of("r-1", T0) is None


def test_a_step_mark_without_framework_takes_that_of_the_open_run() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    applied = book.apply(mark(Edge.BEGIN, "r-1", "1", framework=None))
    assert applied.framework == "baes"
    assert book.open_step("baes", "r-1") == "1"


def test_a_run_without_framework_serves_a_framework_that_has_no_run_of_its_own() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-0", framework=None))
    assert book.open_run("baes", T0) == (None, "r-0")
    book.apply(mark(Edge.BEGIN, "r-1"))
    assert book.open_run("baes", T0) == ("baes", "r-1")


def test_a_run_left_idle_for_an_hour_takes_no_more_calls() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    book.call_began("baes", "r-1", T0 + 30 * MINUTE)
    book.call_ended("baes", "r-1", T0 + 40 * MINUTE)
    assert book.open_run("baes", T0 + 40 * MINUTE + IDLE_US - 1) == ("baes", "r-1")
    assert book.open_run("baes", T0 + 40 * MINUTE + IDLE_US) is None


def test_a_run_with_a_call_in_flight_is_not_idle() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1"))
    book.call_began("baes", "r-1", T0)
    assert book.open_run("baes", T0 + 5 * IDLE_US) == ("baes", "r-1")


def test_a_late_end_of_a_step_does_not_open_its_ended_run_again() -> None:
    book = MarkBook()
    book.apply(mark(Edge.BEGIN, "r-1", "1"))
    book.apply(mark(Edge.END, "r-1"))
    book.apply(mark(Edge.END, "r-1", "1"))
    assert book.open_run("baes", T0) is None


def test_a_run_is_written_as_users_write_it() -> None:
    assert run_name("chatdev", "r-1") == "chatdev/r-1"
    assert run_name(None, "r-1") == "r-1"
    assert split_run("ChatDev/r-1") == ("chatdev", "r-1")
    assert split_run("r-1") == (None, "r-1")
    assert split_run("/r-1") == (None, "/r-1")


@pytest.mark.parametrize("step", ["", "x" * 129, "a\nb"])
def test_a_step_label_has_1_to_128_printable_characters(step: str) -> None:
    with pytest.raises(SubmeterError, match="cannot be used"):
        check_step(step)


def test_good_labels_pass_as_they_are() -> None:
    assert check_step("4.7") == "4.7"
    assert check_step("x" * 128) == "x" * 128
    assert check_run_id("test_run_123") == "test_run_123"
