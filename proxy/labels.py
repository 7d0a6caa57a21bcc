"""Which run and step a request belongs to, read from its path and headers. Pure.

    /run/<run_id>/step/<step>/v1/chat/completions      either part may be left out
    /framework/<framework>/run/<run_id>/step/<step>/v1/...
    X-Submeter-Run, X-Submeter-Step                    win over the path, part by part

A run is named whole by its framework and its id, and what we hand out to point a program names it so (the second
form): one id may be open in two frameworks, on keys that tell of neither. People may leave the framework out, and may
write the run as FRAMEWORK/ID where a run id stands.

Labels are percent-decoded once for the row; the rest of the path goes on byte for byte. Never here: the query
(it is not looked at), and sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ..data.call import FRAMEWORK_CHARS_MAX, RUN_ID_CHARS_MAX, STEP_CHARS_MAX, Flag, Labels, LabelSource
from ..data.marks import MarkBook
from .upstream_url import Upstream

RUN_HEADER = "x-submeter-run"
STEP_HEADER = "x-submeter-step"
TOKEN_HEADER = "x-submeter-token"
PLAIN_HEADER = "x-submeter-plain"
"""On a request of our own making, with a secret of this process: send it as it is."""
_LABELS = frozenset({"token", "framework", "run", "step"})
_FRONTS = tuple(f"/{name}" for name in _LABELS)
OUR_HEADERS = (RUN_HEADER, STEP_HEADER, TOKEN_HEADER, PLAIN_HEADER)


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class PathLabels:
    """What stood in front of the API path."""

    path: str
    """The request path without the labels, query and all, as it goes upstream."""
    framework: str | None = None
    run_id: str | None = None
    step: str | None = None
    token: str | None = None
    """Given as `/token/<token>` where a listener beyond loopback asks for one."""
    upstream: Upstream | None = None
    """Where this call goes, as its client named a region of the API; None: to the proxy's upstream."""


def split_path(path: str) -> PathLabels:
    """Take `/token/..`, `/framework/..`, `/run/..` and `/step/..` off the front of a request path.

    They may come in any order, each at most once.
    """
    if not path.startswith(_FRONTS):
        return PathLabels(path=path)
    found: dict[str, str] = {}
    rest = path
    while rest.startswith("/"):
        name, _, tail = rest[1:].partition("/")
        value, slash, remainder = tail.partition("/")
        if name not in _LABELS or name in found or "?" in value or not (slash or value):
            break
        found[name] = unquote(value, errors="surrogateescape")
        rest = slash + remainder or "/"
    return PathLabels(
        path=rest,
        framework=found.get("framework"),
        run_id=found.get("run"),
        step=found.get("step"),
        token=found.get("token"),
    )


def join_labels(path: PathLabels) -> bytes:
    """The request path that `split_path` takes apart into these labels."""
    token = "" if path.token is None else f"/token/{_quoted(path.token)}"
    front = token + label_path(framework=path.framework, run_id=path.run_id, step=path.step)
    return (front + path.path).encode("utf-8", "surrogateescape")


def label_path(*, framework: str | None, run_id: str | None, step: str | None) -> str:
    """What stands in front of the API path of calls with these labels; empty where there is none."""
    given = (("framework", framework), ("run", run_id), ("step", step))
    return "".join(f"/{name}/{_quoted(value)}" for name, value in given if value is not None)


def _quoted(value: str) -> str:
    return quote(value, safe="", errors="surrogateescape")


def read_labels(
    path: PathLabels, headers: Mapping[str, str], *, key_framework: str | None, marks: MarkBook, now_us: int
) -> Labels:
    """The labels of one request: header, else URL, else the open mark of the one open run of its framework, else none.

    The framework is the one named with the run, else the declared run's, else the key's. A label that is empty, too
    long or unprintable is flagged, and its part stays empty: whoever named a run or step that cannot be did not mean
    the one that is open. `source` is that of the step where there is one, else that of the run.
    """
    flags: list[Flag] = []
    framework_named = _checked_framework(path.framework, flags)
    believed = framework_named or key_framework
    run_named, step_named = headers.get(RUN_HEADER, path.run_id), headers.get(STEP_HEADER, path.step)
    run_id = _checked(run_named, RUN_ID_CHARS_MAX, flags)
    step = _checked(step_named, STEP_CHARS_MAX, flags)
    run_source = LabelSource.HEADER if RUN_HEADER in headers else LabelSource.URL
    step_source = LabelSource.HEADER if STEP_HEADER in headers else LabelSource.URL
    framework = believed
    if run_id is None:
        if run_named is None and (open_run := marks.open_run(believed, now_us)):
            run_framework, run_id = open_run
            run_source = LabelSource.MARK
            framework = run_framework or believed
    elif framework_named is None or run_source is LabelSource.HEADER:
        run_framework, run_id = _declared(run_id, believed, marks, now_us)
        framework = run_framework or believed
    if framework != key_framework and key_framework is not None:
        flags.append(Flag.FRAMEWORK_DISAGREES)
    if step_named is None and run_id is not None and (open_step := marks.open_step(framework, run_id)):
        step, step_source = open_step, LabelSource.MARK
    source = step_source if step is not None else run_source if run_id is not None else None
    return Labels(framework=framework, run_id=run_id, step=step, source=source, flags=tuple(flags))


def _declared(name: str, key_framework: str | None, marks: MarkBook, now_us: int) -> tuple[str | None, str]:
    """The framework a run is declared under, and its id.

    `chatdev/r-1` is split where `chatdev` is the key's framework or has that run open, and where the key tells of no
    framework, which leaves nothing that could contradict it.
    """
    framework, slash, run_id = name.partition("/")
    framework = framework.lower()
    if (
        slash
        and framework
        and run_id
        and (key_framework in (None, framework) or marks.declared(framework, run_id, now_us))
    ):
        return framework, run_id
    if key_framework is not None and marks.declared(key_framework, name, now_us):
        return key_framework, name
    return marks.framework_of(name, now_us), name


def _checked_framework(value: str | None, flags: list[Flag]) -> str | None:
    """The framework named in the path, if it can be one; else None, and flagged."""
    if value is not None and "/" in value:
        flags.append(Flag.LABEL_REFUSED)
        return None
    checked = _checked(value, FRAMEWORK_CHARS_MAX, flags)
    return None if checked is None else checked.lower()


def _checked(value: str | None, chars_max: int, flags: list[Flag]) -> str | None:
    """The label, if it can be one; else None, and flagged."""
    if value is None or (1 <= len(value) <= chars_max and value.isprintable()):
        return value
    if Flag.LABEL_REFUSED not in flags:
        flags.append(Flag.LABEL_REFUSED)
    return None
