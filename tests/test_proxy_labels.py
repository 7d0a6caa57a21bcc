"""Run and step from the path and the headers."""

from __future__ import annotations

import pytest

from submeter.data.call import Edge, Flag, Labels, LabelSource, MarkedBy
from submeter.data.marks import Mark, MarkBook
from submeter.proxy.labels import PathLabels, join_labels, read_labels, split_path

T0 = 1_790_000_000_000_000


def labels(
    path: str, headers: dict[str, str] | None = None, *, key: str | None = "baes", marks: MarkBook | None = None
) -> Labels:
    return read_labels(split_path(path), headers or {}, key_framework=key, marks=marks or MarkBook(), now_us=T0)


def book(*marks: tuple[str | None, str, str | None]) -> MarkBook:
    made = MarkBook()
    for framework, run_id, step in marks:
        made.apply(
            Mark(
                kind="run" if step is None else "step",
                framework=framework,
                run_id=run_id,
                step=step,
                edge=Edge.BEGIN,
                by=MarkedBy.CLI,
                marked_at=T0,
            )
        )
    return made


@pytest.mark.parametrize(
    ("path", "rest", "run_id", "step"),
    [
        ("/v1/models", "/v1/models", None, None),
        ("/run/r-1/v1/models", "/v1/models", "r-1", None),
        ("/step/4.7/v1/models", "/v1/models", None, "4.7"),
        ("/run/r-1/step/4.7/v1/models?a=/run/x", "/v1/models?a=/run/x", "r-1", "4.7"),
        ("/run/a%2Fb%20c/step/%C3%A9/v1/x%2Fy", "/v1/x%2Fy", "a/b c", "é"),
        ("/run/run/step/step/v1/models", "/v1/models", "run", "step"),
        ("/run/r-1//v1/models", "//v1/models", "r-1", None),
        ("/run/r%2531/v1/models", "/v1/models", "r%31", None),
        ("/v1/run/r-1/models", "/v1/run/r-1/models", None, None),
        ("/runs/r-1/v1", "/runs/r-1/v1", None, None),
        ("/run/r-1", "/", "r-1", None),
        ("/run", "/run", None, None),
        ("/run?x", "/run?x", None, None),
        ("*", "*", None, None),
        ("run/r-1/v1", "run/r-1/v1", None, None),
    ],
)
def test_labels_come_off_the_front_of_the_path_and_the_rest_keeps_its_bytes(
    path: str, rest: str, run_id: str | None, step: str | None
) -> None:
    assert split_path(path) == PathLabels(path=rest, run_id=run_id, step=step)


def test_a_run_is_named_whole_in_the_path_by_its_framework_and_its_id() -> None:
    path = split_path("/framework/baes/run/a%2Fb/step/1/v1/x?y")
    assert path == PathLabels(path="/v1/x?y", framework="baes", run_id="a/b", step="1")
    assert split_path(join_labels(path).decode()) == path


def test_a_framework_in_the_path_stands_whatever_is_open_and_whatever_the_key_says() -> None:
    both = book(("baes", "r-1", "1"), ("ghspec", "r-1", "2"))
    for marks in (both, MarkBook()):
        got = labels("/framework/GHSpec/run/r-1/v1/x", key=None, marks=marks)
        assert (got.framework, got.run_id, got.flags) == ("ghspec", "r-1", ())
    assert labels("/framework/ghspec/run/r-1/v1/x", key=None, marks=both).step == "2"
    assert labels("/run/r-1/v1/x", key=None, marks=both).framework is None
    got = labels("/framework/ghspec/run/r-1/v1/x", key="baes")
    assert (got.framework, got.flags) == ("ghspec", (Flag.FRAMEWORK_DISAGREES,))


def test_a_run_id_with_a_slash_stays_whole_where_its_framework_is_named() -> None:
    got = labels("/framework/baes/run/other%2Fr-1/v1/x", key=None)
    assert (got.framework, got.run_id) == ("baes", "other/r-1")


def test_a_framework_in_the_path_without_a_run_takes_the_open_run_of_that_framework() -> None:
    got = labels("/framework/ghspec/v1/x", key=None, marks=book(("baes", "r-1", "1"), ("ghspec", "r-2", "2")))
    assert got == Labels(framework="ghspec", run_id="r-2", step="2", source=LabelSource.MARK)


@pytest.mark.parametrize("framework", ["", "a%2Fb", "%00", "x" * 129])
def test_a_framework_that_cannot_be_is_left_out_and_flagged(framework: str) -> None:
    got = labels(f"/framework/{framework}/run/r-1/v1/x", key=None)
    assert (got.framework, got.run_id, got.flags) == (None, "r-1", (Flag.LABEL_REFUSED,))


def test_a_header_may_name_a_run_whole_and_wins_over_the_path() -> None:
    got = labels("/v1/x", {"x-submeter-run": "GHSpec/r-1"}, key=None)
    assert (got.framework, got.run_id, got.source) == ("ghspec", "r-1", LabelSource.HEADER)
    got = labels("/framework/ghspec/run/r-2/v1/x", {"x-submeter-run": "ghspec/r-1"}, key=None)
    assert (got.framework, got.run_id, got.source) == ("ghspec", "r-1", LabelSource.HEADER)


def test_a_token_stands_before_run_and_step() -> None:
    assert split_path("/token/t0/run/r/v1/x") == PathLabels(path="/v1/x", run_id="r", token="t0")


def test_a_header_wins_over_the_path_part_by_part() -> None:
    got = labels("/run/r-1/step/1/v1/x", {"x-submeter-step": "2"})
    assert (got.run_id, got.step, got.source) == ("r-1", "2", LabelSource.HEADER)


def test_the_path_labels_a_call() -> None:
    got = labels("/run/r-1/step/1/v1/x")
    assert got == Labels(framework="baes", run_id="r-1", step="1", source=LabelSource.URL)


def test_the_one_open_run_of_the_framework_labels_a_call_that_says_nothing() -> None:
    got = labels("/v1/x", marks=book(("baes", "r-1", "3")))
    assert got == Labels(framework="baes", run_id="r-1", step="3", source=LabelSource.MARK)


def test_nothing_is_guessed_between_two_open_runs() -> None:
    assert labels("/v1/x", marks=book(("baes", "r-1", "3"), ("baes", "r-2", "4"))) == Labels(framework="baes")


def test_a_run_in_the_path_takes_the_open_step_of_that_run() -> None:
    got = labels("/run/r-2/v1/x", marks=book(("baes", "r-1", "3"), ("baes", "r-2", "4")))
    assert (got.run_id, got.step, got.source) == ("r-2", "4", LabelSource.MARK)


def test_the_declared_run_s_framework_stands_and_a_disagreement_is_flagged() -> None:
    got = labels("/run/r-1/v1/x", key="chatdev", marks=book(("baes", "r-1", None)))
    assert (got.framework, got.flags) == ("baes", (Flag.FRAMEWORK_DISAGREES,))


def test_the_same_run_id_in_two_frameworks_follows_the_key() -> None:
    marks = book(("baes", "r-1", "1"), ("chatdev", "r-1", "2"))
    assert labels("/run/r-1/v1/x", key="chatdev", marks=marks).step == "2"
    assert labels("/run/r-1/v1/x", key="baes", marks=marks).step == "1"
    assert labels("/run/r-1/v1/x", key=None, marks=marks).framework is None


def test_a_run_may_be_written_with_its_framework() -> None:
    got = labels("/run/baes%2Fr-1/v1/x")
    assert (got.framework, got.run_id) == ("baes", "r-1")
    assert labels("/v1/x", {"x-submeter-run": "other/r-1"}).run_id == "other/r-1"


@pytest.mark.parametrize("path", ["/run//v1/x", "/run/%00/v1/x", "/run/%ff/v1/x", f"/run/{'x' * 257}/v1/x"])
def test_a_label_that_cannot_be_is_left_out_and_flagged(path: str) -> None:
    got = labels(path)
    assert (got.run_id, got.flags) == (None, (Flag.LABEL_REFUSED,))
    assert split_path(path).path == "/v1/x"


@pytest.mark.parametrize("path", [f"/run/r-1/step/{'x' * 129}/v1/x", "/run/r-1/step//v1/x"])
def test_a_step_that_cannot_be_is_not_replaced_by_the_open_one(path: str) -> None:
    got = labels(path, marks=book(("baes", "r-1", "3")))
    assert (got.run_id, got.step, got.flags) == ("r-1", None, (Flag.LABEL_REFUSED,))


def test_a_run_that_cannot_be_is_not_replaced_by_the_open_one() -> None:
    got = labels("/run//v1/x", marks=book(("baes", "r-1", "3")))
    assert (got.run_id, got.step, got.source) == (None, None, None)


def test_labels_may_come_in_any_order() -> None:
    assert split_path("/step/1/run/r/token/t/v1/x") == PathLabels(path="/v1/x", run_id="r", step="1", token="t")


def test_without_key_and_marks_a_call_has_no_labels() -> None:
    assert labels("/v1/x", key=None) == Labels()
