"""The vocabulary: one call, what happened to it, what it used, and what that means for sums.

A call is one HTTP attempt, or one model response on a WebSocket. Counts are as the provider reported them and nested
as it nests them (cached is inside input, reasoning inside output). None means the provider did not say; it is never
a zero. Nothing here reads a clock, a file or a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

COUNT_MAX = 1_000_000_000
"""A larger token count is flagged and not believed: no model has a billion-token call."""

FRAMEWORK_CHARS_MAX = 128
STEP_CHARS_MAX = 128
RUN_ID_CHARS_MAX = 256


class Operation(StrEnum):
    """Whether a call creates billable work. Only creates are ever summed."""

    CREATE = "create"
    READ = "read"


class Outcome(StrEnum):
    """What happened on the wire."""

    METERED = "metered"
    """2xx, whole, and it told its usage."""
    NO_USAGE = "no_usage"
    """2xx, whole, and silent about usage."""
    ABORTED = "aborted"
    """The client left first; usage may still be known."""
    REFUSED = "refused"
    """4xx."""
    FAILED = "failed"
    """5xx, a reset, no answer, or an error inside a 200."""
    UNREADABLE = "unreadable"
    """The body passed, but what it said could not be read."""
    OPEN = "open"
    """A start line and no settle line yet."""
    LOST = "lost"
    """Open, and the process that would settle it is gone."""


class Standing(StrEnum):
    """What a create means for sums. Derived in `macro_standing_of.sql`; only `counted` is summed."""

    COUNTED = "counted"
    UNBILLED = "unbilled"
    UNCOVERED = "uncovered"
    OPTIONAL = "optional"
    """Its usage was reported and may not be billed."""
    UNKNOWN = "unknown"


class UsageSource(StrEnum):
    """Who made the provider say it."""

    REPORTED = "reported"
    REQUESTED = "requested"
    READ = "read"
    RECEIPT = "receipt"


class LabelSource(StrEnum):
    """Where a call's run and step came from, strongest first."""

    HEADER = "header"
    URL = "url"
    MARK = "mark"
    TIME = "time"


class Edge(StrEnum):
    """Which end of a run or step a mark is."""

    BEGIN = "begin"
    END = "end"


class MarkedBy(StrEnum):
    """Who wrote a mark."""

    CLI = "cli"
    HTTP = "http"
    PYTHON = "python"
    METRICS = "metrics"


class Flag(StrEnum):
    """Something odd about a call, kept in the open. Those in `DISTRUSTED` make a create stand as `unknown`."""

    CACHED_OVER_INPUT = "cached_over_input"
    COUNT_NEGATIVE = "count_negative"
    COUNT_ABSURD = "count_absurd"
    COUNT_MALFORMED = "count_malformed"
    USAGE_CONTRADICTS = "usage_contradicts"
    """Two names of one count differ, or the total is far from its parts."""
    ZERO_AFTER_ERROR = "zero_after_error"
    """An error came where an answer was due, and the usage beside it is all zeros."""
    USAGE_MALFORMED = "usage_malformed"
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    FRAMEWORK_DISAGREES = "framework_disagrees"
    INVALID_UTF8 = "invalid_utf8"
    USAGE_REPEATED = "usage_repeated"
    NO_TERMINAL = "no_terminal"
    NEVER_SENT = "never_sent"
    METER_FAILED = "meter_failed"
    ERROR_IN_STREAM = "error_in_stream"
    BACKGROUND = "background"
    HOSTED_TOOL = "hosted_tool"
    USAGE_TOO_LARGE = "usage_too_large"
    LABEL_REFUSED = "label_refused"
    SEEN_TWICE = "seen_twice"
    BORDER = "border"
    RETRIED_BY_US = "retried_by_us"
    OPTIONAL = "optional"
    """What it used may not be billed: its standing is `optional` where its usage is known."""
    WARM_UP = "warm_up"
    """A `response.create` with `generate: false` on a socket: what it reports may not be billed."""
    RECEIPT = "receipt"
    """A read by submeter itself (`--receipts`), after the client of the call that it reads had left."""
    USAGE_NOT_ASKED = "usage_not_asked"
    """A stream of completions that does not tell its usage, and could not be changed to do so."""
    USAGE_NOT_HIDDEN = "usage_not_hidden"
    """We asked for the usage, and the answer came compressed all the same: the client saw it too."""
    DRAINED = "drained"
    """Its client left in the middle, and its answer was read to the end all the same (`--drain`)."""
    CLOCK_STEPPED = "clock_stepped"
    """Our clock went back during the call, so its times say when it began, not how long it took."""


DISTRUSTED = (
    Flag.CACHED_OVER_INPUT,
    Flag.COUNT_NEGATIVE,
    Flag.COUNT_ABSURD,
    Flag.COUNT_MALFORMED,
    Flag.USAGE_CONTRADICTS,
    Flag.ZERO_AFTER_ERROR,
)
"""As in `macro_is_distrusted.sql`."""


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class Usage:
    """Counts as one response reported them. None: not said."""

    input_tokens: int | None = None
    """`prompt_tokens` or `input_tokens`: everything in, cached included."""
    cached_input_tokens: int | None = None
    """`cached_tokens` of the input details: inside `input_tokens`."""
    cache_write_tokens: int | None = None
    """`cache_write_tokens` of the input details: inside `input_tokens`."""
    output_tokens: int | None = None
    """`completion_tokens` or `output_tokens`: everything out, reasoning included."""
    reasoning_tokens: int | None = None
    """`reasoning_tokens` of the output details: inside `output_tokens`."""
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    total_tokens: int | None = None
    """As reported; not always input + output (docs/openai-usage.md A.10)."""
    images: int | None = None
    """Images in the answer, counted in the body."""
    characters: int | None = None
    seconds: float | None = None
    """Audio seconds of a `duration` usage."""


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class Labels:
    """Which run and step a call belongs to, taken once, at its start."""

    framework: str | None = None
    run_id: str | None = None
    step: str | None = None
    source: LabelSource | None = None
    flags: tuple[Flag, ...] = ()


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class Start:
    """All that is known when a request's headers are complete. Times are microseconds UTC."""

    call_id: str
    """UUIDv7, ours."""
    started_at: int
    framework: str | None
    key_fingerprint: str | None
    """First 16 hex digits of the SHA-256 of the API key; None: the request carried no key."""
    api_key_id: str | None
    """`key_...` as configured for this key; None: none configured."""
    run_id: str | None
    step: str | None
    label_source: LabelSource | None
    method: str
    path: str
    """As forwarded, labels taken off, without the query."""
    endpoint: str | None
    """Template without the version, such as `chat/completions` or `responses/{id}`; None: not in our table."""
    usage_endpoint: str | None
    """Last part of the Usage API path that bills it (`completions`, `embeddings`, `images`, ...); None: none does."""
    operation: Operation
    retry_count: int | None
    """`x-stainless-retry-count` of the request; None: the client did not say."""
    organization: str | None
    """`OpenAI-Organization` of the request; the response's, once there, stands instead."""
    project: str | None
    upstream: str
    flags: tuple[Flag, ...] = ()


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class Result:
    """What became of a call. Times are microseconds UTC; sizes are bytes of body."""

    outcome: Outcome
    ended_at: int
    first_byte_at: int | None = None
    completed_at: int | None = None
    """The provider's own, from the body (`completed_at`, else `created`), whole seconds."""
    server_date: int | None = None
    """The response's `Date` header."""
    status_code: int | None = None
    streamed: bool | None = None
    """Whether the answer came as server-sent events (or over a WebSocket)."""
    request_model: str | None = None
    response_model: str | None = None
    response_status: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    batch_id: str | None = None
    service_tier: str | None = None
    usage_counts: Usage = field(default_factory=Usage)
    usage: Any = None
    """The usage object verbatim, as `orjson.Fragment` or parsed JSON; None: none was seen."""
    tool_usage: Any = None
    usage_source: UsageSource | None = None
    flags: tuple[Flag, ...] = ()
    error: str | None = None
    organization: str | None = None
    project: str | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    overhead_us: int | None = None
    """Microseconds submeter itself spent on this call."""


_USAGE_FIELDS = tuple(f.name for f in fields(Usage))
_START_FIELDS = tuple(f.name for f in fields(Start))
_RESULT_FIELDS = tuple(f.name for f in fields(Result) if f.name != "usage_counts")
_SETTLED_FIELDS = _RESULT_FIELDS + _USAGE_FIELDS
_usage_values, _start_values, _result_values = (
    attrgetter(*names) for names in (_USAGE_FIELDS, _START_FIELDS, _RESULT_FIELDS)
)


def start_line(start: Start) -> dict[str, Any]:
    """The fields of a `start` journal line; what is None is left out."""
    return _said(_START_FIELDS, _start_values(start))


def settle_line(start: Start, result: Result, *, begun: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a `settle` line: all of the start line again, and the result, so that it alone makes the row.

    `begun` is what `start_line` gave, where it is at hand. Where both say an organization or a project the result's
    stands; flags are those of both.

    Of the 1,735 bytes that a plain call costs (500 chat calls, 2026-11) this line is 1,319. Without what its start line
    says it would be 1,010, a call 18 % less, and a torn or lost start line would lose the row. Compressed line by line
    a call is 199 bytes for 49 us of CPU, but what follows a torn byte cannot be read, and an offset is no longer a
    line's identity. So lines stay plain and whole; a journal that is closed compresses to 146 bytes a call (gzip),
    which is for whoever archives it.
    """
    line = {
        **(start_line(start) if begun is None else begun),
        **_said(_SETTLED_FIELDS, _result_values(result) + _usage_values(result.usage_counts)),
    }
    if result.flags and start.flags:
        line["flags"] = tuple(dict.fromkeys((*start.flags, *result.flags)))
    began, first, ended = start.started_at, result.first_byte_at, result.ended_at
    if ended < began or (first is not None and not began <= first <= ended):
        # The clock was set back in between. No time of a call is before its start, or after its end.
        line["ended_at"] = max(began, ended)
        if first is not None:
            line["first_byte_at"] = min(max(began, first), line["ended_at"])
        line["flags"] = (*line.get("flags", ()), Flag.CLOCK_STEPPED)
    return line


def _said(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    """Names to values; what is None is left out, and so are no flags."""
    said = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    if said.get("flags") == ():
        del said["flags"]
    return said
