"""The users' metrics files as marks."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from ledger_play import Play

from submeter.data.error import SubmeterError
from submeter.data.metrics import RunTimes, find_metrics, marks_of, open_metrics, read_metrics, run_times

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"

RUN = {
    "run_id": "r-1",
    "start_timestamp": "2025-10-29T23:20:48.090532Z",
    "end_timestamp": "2025-10-29T23:47:42.006090Z",
    "steps": [
        {"step": 1, "start_timestamp": 1761780048, "end_timestamp": 1761780260, "success": True, "hitl_count": 0},
        {"step": "4.7", "start_timestamp": 1761780260, "end_timestamp": 1761780511, "success": False},
    ],
    "aggregate_metrics": {"TOK_IN": 5},
}


def write(folder: Path, told: object, framework: str = "ChatDev", run_id: str = "r-1") -> Path:
    path = folder / framework / run_id / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(told if isinstance(told, bytes) else orjson.dumps(told))
    return path


def test_a_file_becomes_the_edges_of_its_run_and_steps_in_time_order(tmp_path: Path) -> None:
    marks = read_metrics(write(tmp_path, RUN))
    assert [(mark.kind, mark.step, mark.edge, mark.marked_at, mark.status) for mark in marks] == [
        ("step", "1", "begin", 1761780048_000000, None),
        ("run", None, "begin", 1761780048_090532, None),
        ("step", "1", "end", 1761780260_000000, "success"),
        ("step", "4.7", "begin", 1761780260_000000, None),
        ("step", "4.7", "end", 1761780511_000000, "failure"),
        ("run", None, "end", 1761781662_006090, None),
    ]
    assert {(mark.framework, mark.run_id, mark.by) for mark in marks} == {("chatdev", "r-1", "metrics")}


def test_a_run_that_goes_on_has_no_end(tmp_path: Path) -> None:
    marks = read_metrics(write(tmp_path, RUN | {"end_timestamp": None, "steps": None}))
    assert [(mark.kind, mark.edge) for mark in marks] == [("run", "begin")]


@pytest.mark.parametrize(("last", "ended"), [(1761780511, 1761780511_000000), (None, None)])
def test_a_file_without_times_of_its_run_has_those_of_its_steps(
    tmp_path: Path, last: int | None, ended: int | None
) -> None:
    steps = [
        {"step_number": 1, "start_timestamp": 1761780048, "end_timestamp": 1761780260},
        {"step_number": 2, "start_timestamp": 1761780260, "end_timestamp": last},
    ]
    file = open_metrics(write(tmp_path, {"run_id": "r-1", "steps": steps}))
    assert run_times(file) == RunTimes(begun_us=1761780048_000000, ended_us=ended, from_steps=True)
    assert {mark.step for mark in marks_of(file)} == {None, "1", "2"}
    assert run_times(open_metrics(write(tmp_path / "own", RUN))).from_steps is False


def test_a_time_with_another_zone_or_none_is_brought_to_utc(tmp_path: Path) -> None:
    told = {"start_timestamp": "2025-10-30T01:20:48+02:00", "end_timestamp": "2025-10-29T23:20:49"}
    begin, end = read_metrics(write(tmp_path, told))
    assert (begin.marked_at, end.marked_at) == (1761780048_000000, 1761780049_000000)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"{", "not JSON"),
        ([], "not a JSON object"),
        (RUN | {"run_id": "other"}, "its folder is 'r-1'"),
        (RUN | {"start_timestamp": None}, "start_timestamp is missing"),
        (RUN | {"start_timestamp": "yesterday"}, "no ISO 8601 time"),
        (RUN | {"start_timestamp": 5}, "no ISO 8601 time"),
        (RUN | {"end_timestamp": "2025-10-29T23:00:00Z"}, "end_timestamp is before"),
        (RUN | {"start_timestamp": None, "end_timestamp": None, "steps": [{"step": 1}]}, "start_timestamp is missing"),
        (RUN | {"end_timestamp": "2026-10-29T23:00:00Z"}, "over 31 days"),
        (RUN | {"steps": {}}, "steps is not a list"),
        (RUN | {"steps": [{"step": None}]}, "a step is named None"),
        (RUN | {"steps": [{"step": 1, "start_timestamp": "x"}]}, "not seconds since 1970"),
        (RUN | {"steps": [{"step": 1, "start_timestamp": -5}]}, "not seconds since 1970"),
        (RUN | {"steps": [{"step": 1, "start_timestamp": 9, "end_timestamp": 8}]}, "ends before it begins"),
    ],
)
def test_a_file_that_is_none_is_named_with_the_reason(tmp_path: Path, told: object, why: str) -> None:
    path = write(tmp_path, told)
    with pytest.raises(SubmeterError) as error:
        read_metrics(path)
    assert str(path) in error.value.what
    assert why in error.value.why
    assert str(error.value).count("\n") == 2


def test_files_are_found_at_any_depth_and_their_absence_is_told(tmp_path: Path) -> None:
    first = write(tmp_path / "exp" / "a", RUN)
    second = write(tmp_path / "exp" / "b", RUN, framework="baes")
    assert find_metrics(tmp_path) == [first, second]
    assert find_metrics(first) == [first]
    with pytest.raises(SubmeterError, match=r"no metrics\.json"):
        find_metrics(tmp_path / "nowhere")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
def test_the_published_runs_become_one_episode_each_with_six_steps(tmp_path: Path) -> None:
    play = Play(tmp_path)
    files = find_metrics(SHARED)
    for path in files:
        for mark in read_metrics(path):
            play.journal.append(mark.kind, mark.line())
    rows = play.told("SELECT framework, run_id, max(episode), any_value(end_source) FROM runs GROUP BY ALL")
    assert len(rows) == len(files) > 20
    assert {(episode, source) for _, _, episode, source in rows} == {(1, "metrics")}
    steps = play.told("SELECT count(*), max(visit) FROM steps GROUP BY framework, run_id")
    assert set(steps) == {(6, 1)}
    played = play.told("SELECT DISTINCT calls, input_tokens, covered FROM run_usage")
    assert played == [(None, None, False)]
