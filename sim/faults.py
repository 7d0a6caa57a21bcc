"""What can go wrong, as data: which calls it befalls, and what it does to them.

A plan is a list of faults; every fault that matches a request is laid over its answer, in the order given. All chance
is seeded. How a fault changes an answer is in `spoil`; nothing here touches an answer or a connection.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from .words import chance


class FaultKind(StrEnum):
    """One thing that goes wrong."""

    STATUS = "status"
    """Answer `status` instead; `retry_after` is its header, `message` its text."""
    DELAY = "delay"
    """`seconds` of silence before the headers."""
    STALL = "stall"
    """`seconds` of silence before frame `after`."""
    RESET = "reset"
    """A TCP reset before frame `after`, or in the middle of a body."""
    CLOSE_BEFORE_HEADERS = "close_before_headers"
    TRUNCATED_LENGTH = "truncated_length"
    """Half the body, then a clean close, whatever Content-Length said."""
    TRUNCATED_CHUNKED = "truncated_chunked"
    """A chunked body or stream that ends (before frame `after`) without its last chunk."""
    NOT_JSON = "not_json"
    """A page of HTML under the content type that was due."""
    HTML = "html"
    """A page of HTML under its own content type, status 200."""
    USAGE = "usage"
    """The usage is mangled, as `mangle` says."""
    BROKEN_GZIP = "broken_gzip"
    INVALID_UTF8 = "invalid_utf8"
    HUGE_JSON = "huge_json"
    """A body of `size` bytes."""
    ERROR_IN_STREAM = "error_in_stream"
    """An error event at frame `after`, in the manner of the endpoint, and nothing that follows it."""
    RESPONSE_FAILED = "response_failed"
    RESPONSE_INCOMPLETE = "response_incomplete"
    NO_USAGE = "no_usage"
    NO_DONE = "no_done"
    USAGE_REPEATED = "usage_repeated"
    """Usage on every chunk, cumulative, as some servers send it."""
    USAGE_WITH_CHOICES = "usage_with_choices"
    """Usage on the last chunk that has choices, and no chunk of its own."""
    MODERATION_AFTER_USAGE = "moderation_after_usage"
    LINE_ENDS = "line_ends"
    """Lines of the stream end with `line_end`."""
    COMMENTS = "comments"
    ONE_BYTE_WRITES = "one_byte_writes"
    RATE_LIMITS_AFTER_TERMINAL = "rate_limits_after_terminal"
    CURSOR_REPEATED = "cursor_repeated"
    """Usage API: a page names itself as the next."""
    CURSOR_MISSING = "cursor_missing"
    """Usage API: `has_more` without `next_page`."""
    WINDOW_CHANGED = "window_changed"
    """Usage API: every bucket lies one bucket later than it should."""
    BUCKET_DOUBLED = "bucket_doubled"
    """Usage API: the first bucket of a page comes twice."""
    BUCKETS_DESCENDING = "buckets_descending"
    """Usage API: the last bucket of a page first."""
    BUCKETS_CUT = "buckets_cut"
    """Usage API: an answer stops after `after` buckets and says that there is no more."""
    BUCKET_MISSING = "bucket_missing"
    """Usage API: bucket `after` of a page, from 0, is left out."""
    FILTER_IGNORED = "filter_ignored"
    """Usage API: rows of keys and models that were not asked for."""


UNBILLED = frozenset(
    {
        FaultKind.STATUS,
        FaultKind.CLOSE_BEFORE_HEADERS,
        FaultKind.ERROR_IN_STREAM,
        FaultKind.RESPONSE_FAILED,
    }
)
"""Kinds that cost nothing unless the fault says otherwise: the work was not done, or broke off on the server."""


class Mangle(StrEnum):
    """What becomes of a usage object."""

    STRING = "string"
    LIST = "list"
    NEGATIVE = "negative"
    ABSURD = "absurd"
    """Counts of more than 10^12."""
    FLOAT = "float"
    TEXT_COUNTS = "text_counts"
    """Counts as strings."""
    CACHED_OVER_INPUT = "cached_over_input"
    NULL = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: what, to whom, how often."""

    kind: FaultKind
    path: str = "*"
    """A pattern (`*` and `?`) for the path without query."""
    method: str = "*"
    header: tuple[str, str] | None = None
    """A header's name and a pattern for its value."""
    body_contains: str | None = None
    """Text that the request's body must contain."""
    nth: Collection[int] | None = None
    """Which of the calls that match all the above, from 0. None: every one."""
    times: int | None = None
    """At most so many calls."""
    probability: float = 1.0
    billed: bool | None = None
    """Whether the call is billed all the same. None: as is usual for the kind (`UNBILLED`)."""
    status: int = 500
    retry_after: str | None = None
    message: str | None = None
    seconds: float = 0.0
    """Wall clock."""
    after: int = 2
    """The frame, from 0, before which it happens; of the Usage API, the bucket."""
    size: int = 64 * 1024 * 1024
    """Bytes."""
    mangle: Mangle = Mangle.NEGATIVE
    line_end: str = "\r\n"

    @property
    def costs(self) -> bool:
        """Whether a call so spoilt is billed."""
        return self.kind not in UNBILLED if self.billed is None else self.billed

    def applies(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a request is of those it aims at, nth, times and probability left aside."""
        return (
            fnmatchcase(path, self.path)
            and fnmatchcase(method, self.method)
            and (self.header is None or fnmatchcase(headers.get(self.header[0].lower(), ""), self.header[1]))
            and (self.body_contains is None or self.body_contains.encode() in body)
        )


class FaultPlan:
    """The faults in force; may be changed from any thread while the server runs."""

    def __init__(self, seed: int, faults: Sequence[Fault] = ()) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._faults: list[Fault] = list(faults)
        self._met: list[int] = [0] * len(self._faults)
        self._fired: list[int] = [0] * len(self._faults)

    def add(self, fault: Fault) -> None:
        """Put one more fault in force."""
        with self._lock:
            self._faults.append(fault)
            self._met.append(0)
            self._fired.append(0)

    def clear(self) -> None:
        """Take all faults out of force."""
        with self._lock:
            self._faults.clear()
            self._met.clear()
            self._fired.clear()

    @property
    def fired(self) -> tuple[tuple[Fault, int], ...]:
        """Each fault and how many calls it befell."""
        with self._lock:
            return tuple(zip(self._faults, self._fired, strict=True))

    def match(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Fault, ...]:
        """The faults that befall this request, and one more on each one's count."""
        chosen: list[Fault] = []
        with self._lock:
            for place, fault in enumerate(self._faults):
                if not fault.applies(method, path, headers, body):
                    continue
                met = self._met[place]
                self._met[place] += 1
                if fault.nth is not None and met not in fault.nth:
                    continue
                if fault.times is not None and self._fired[place] >= fault.times:
                    continue
                if fault.probability < 1.0 and chance(self._seed, "fault", place, met).random() >= fault.probability:
                    continue
                self._fired[place] += 1
                chosen.append(fault)
        return tuple(chosen)
