"""The users' own `metrics.json`: when a run and its steps began and ended, as marks.

    <anything>/<framework>/<run_id>/metrics.json

Framework and run id come from the folders; the file's own `run_id` must agree. Runs are told in ISO 8601 with
fractions of a second, steps in whole seconds since 1970. Where a file tells no times of the run, its steps' stand for
them. A run without an end has not ended; unknown fields are passed over. Pure but for reading and replacing the files.
Never here: their token counts. Those came from the Usage API, and are not ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from .call import Edge, MarkedBy
from .clock import US_PER_S
from .error import SubmeterError
from .marks import Mark
from .system import read_file, words

FILE_NAME = "metrics.json"
FILE_BYTES_MAX = 16 * 1024 * 1024
RUN_DAYS_MAX = 31
"""A longer run is a mistake in its times; `view_imported_times.sql` takes the end of one for unknown."""
_PART = re.compile(r"sprint_\d+")
"""The folder of a part of a run, in the users' older runs."""


def find_metrics(folder: Path) -> list[Path]:
    """Every `metrics.json` under a folder, sorted by path. Raises `SubmeterError` where there is none."""
    if folder.is_file() and folder.name == FILE_NAME:
        return [folder]
    found = sorted(path for path in folder.rglob(FILE_NAME) if path.is_file()) if folder.is_dir() else []
    if not found:
        raise SubmeterError(
            f"There is no {FILE_NAME} under {folder}",
            f"Looked for <framework>/<run_id>/{FILE_NAME}, at any depth.",
            "Name the folder that holds them, such as runs/, and run the same command again.",
        )
    return found


def is_part(path: Path) -> bool:
    """Whether a `metrics.json` is of a part of a run: in a folder `sprint_001`, or inside a folder that has its own."""
    path = path.absolute()
    return _PART.fullmatch(path.parent.name) is not None or (path.parent.parent / FILE_NAME).is_file()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """When a run began and ended, in microseconds UTC."""

    begun_us: int
    ended_us: int | None
    """None: it goes on."""
    from_steps: bool
    """The file tells no times of the run, so these are of its steps, in whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsFile:
    """One file as it lies there, its place checked against what it says."""

    path: Path
    framework: str
    """The folder above the run's, lower-cased."""
    run_id: str
    content: bytes
    told: Mapping[str, Any]
    """What the content says."""


def open_metrics(path: Path) -> MetricsFile:
    """Read one file whole. Raises `SubmeterError` naming it where it is no run's metrics."""
    path = path.absolute()
    framework, folder_id = path.parent.parent.name.lower(), path.parent.name
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _broken(path, f"it is over {FILE_BYTES_MAX} bytes")
        content = read_file(path)
        told = orjson.loads(content)
    except OSError as error:
        raise _broken(path, words(error)) from error
    except orjson.JSONDecodeError as error:
        raise _broken(path, f"it is not JSON ({error})") from error
    if not isinstance(told, dict):
        raise _broken(path, "it is not a JSON object")
    run_id = told.get("run_id", folder_id)
    if run_id != folder_id:
        raise _broken(path, f"its run_id is {run_id!r}, but its folder is {folder_id!r}")
    if not framework:
        raise _broken(path, "it lies in no framework's folder")
    return MetricsFile(path=path, framework=framework, run_id=folder_id, content=content, told=told)


def write_metrics(file: MetricsFile, content: bytes) -> None:
    """Put new content in the file's place in one step, its mode kept. Raises `SubmeterError` where it cannot be done.

    A reader sees the old content or the new, never a part. A file that somebody else has changed since it was read is
    left as it is.
    """
    path = file.path.resolve()
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        try:
            with open(new, "xb", opener=_private) as out:
                out.write(content)
                out.flush()
                os.fchmod(out.fileno(), mode)
                os.fsync(out.fileno())
            if path.read_bytes() != file.content:
                raise _broken(file.path, "it was changed by another program meanwhile")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise _broken(file.path, words(error)) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_metrics(path: Path) -> list[Mark]:
    """The marks of the file at this path; raises as `open_metrics` and `marks_of` do."""
    return marks_of(open_metrics(path))


def marks_of(file: MetricsFile) -> list[Mark]:
    """The marks of one file, in time order: run and step edges, `by` metrics. Raises `SubmeterError` naming it."""
    path, framework, run_id, told = file.path, file.framework, file.run_id, file.told
    times = run_times(file)
    marks = [_mark(framework, run_id, None, Edge.BEGIN, times.begun_us, None)]
    for step in _steps(path, told):
        marks.extend(_step_marks(path, framework, run_id, step))
    if times.ended_us is not None:
        marks.append(_mark(framework, run_id, None, Edge.END, times.ended_us, None))
    return sorted(marks, key=lambda mark: mark.marked_at)


def run_times(file: MetricsFile) -> RunTimes:
    """When the run began and ended. Raises `SubmeterError` naming a file that does not say, or says what cannot be."""
    begun = _iso(file.path, "start_timestamp", file.told)
    ended = _iso(file.path, "end_timestamp", file.told)
    from_steps = begun is None and ended is None
    if from_steps:
        edges = [_step_times(file.path, step) for step in _steps(file.path, file.told)]
        begun = min((step_begun for step_begun, _ in edges if step_begun is not None), default=None)
        ends = [step_ended for step_begun, step_ended in edges if step_begun is not None]
        known = [end for end in ends if end is not None]
        ended = max(known) if known and len(known) == len(ends) else None
    if begun is None:
        raise _broken(file.path, "start_timestamp is missing")
    if ended is not None and ended < begun:
        raise _broken(file.path, "end_timestamp is before start_timestamp")
    if ended is not None and ended - begun > RUN_DAYS_MAX * 86_400 * US_PER_S:
        raise _broken(file.path, f"by its times it lasted over {RUN_DAYS_MAX} days")
    return RunTimes(begun_us=begun, ended_us=ended, from_steps=from_steps)


def _steps(path: Path, told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    steps = told.get("steps")
    if steps is None:
        return []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise _broken(path, "steps is not a list of objects")
    return steps


def _step_marks(path: Path, framework: str, run_id: str, step: Mapping[str, Any]) -> list[Mark]:
    name = step_name(step)
    if type(name) not in (int, str) or name == "":
        raise _broken(path, f"a step is named {name!r}")
    begun, ended = _step_times(path, step)
    if begun is None:
        return []
    marks = [_mark(framework, run_id, str(name), Edge.BEGIN, begun, None)]
    if ended is not None:
        success = step.get("success")
        status = None if type(success) is not bool else "success" if success else "failure"
        marks.append(_mark(framework, run_id, str(name), Edge.END, ended, status))
    return marks


def step_name(step: Mapping[str, Any]) -> Any:
    """What a file calls one of its steps, under `step` or, in the older form, `step_number`; None: nothing."""
    return step.get("step", step.get("step_number"))


def _step_times(path: Path, step: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """When a step began and ended, in microseconds UTC; None: not told."""
    name = step_name(step)
    begun = _whole_seconds(path, f"step {name}: start_timestamp", step.get("start_timestamp"))
    ended = _whole_seconds(path, f"step {name}: end_timestamp", step.get("end_timestamp"))
    if begun is not None and ended is not None and ended < begun:
        raise _broken(path, f"step {name} ends before it begins")
    return begun, ended


def _mark(framework: str, run_id: str, step: str | None, edge: Edge, marked_at: int, status: str | None) -> Mark:
    return Mark(
        kind="run" if step is None else "step",
        framework=framework,
        run_id=run_id,
        step=step,
        edge=edge,
        by=MarkedBy.METRICS,
        marked_at=marked_at,
        status=status,
    )


def _iso(path: Path, name: str, told: Mapping[str, Any]) -> int | None:
    """An ISO 8601 time in microseconds UTC; a time without a zone is UTC. None: not told."""
    text = told.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise _broken(path, f"{name} is {text!r}, which is no ISO 8601 time") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * US_PER_S + moment.microsecond


def _whole_seconds(path: Path, what: str, value: object) -> int | None:
    """Seconds since 1970 in microseconds; a fraction, which no file so far has, is kept. None: not told."""
    if value is None:
        return None
    if type(value) is int:
        seconds = value
    elif type(value) is float and value == value and abs(value) < 1e11:
        return round(value * US_PER_S)
    else:
        raise _broken(path, f"{what} is {value!r}, not seconds since 1970")
    if not 0 <= seconds < 10**11:
        raise _broken(path, f"{what} is {value!r}, not seconds since 1970")
    return seconds * US_PER_S


def _broken(path: Path, why: str) -> SubmeterError:
    return SubmeterError(
        f"This file cannot be used: {path}",
        f"It is not a run's metrics: {why}.",
        "Mend or move it, then run the same command again; to begin: submeter metrics import DIR",
    )
