"""What all calls of one proxy share: its journal, clock, keys, marks, and the calls that are open.

Here a call gets its start line: key, labels and endpoint, as far as its head tells. Never here: bodies, results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Protocol

from ..data.call import Flag, Labels, Start
from ..data.clock import Clock
from ..data.journal import Journal, new_call_id
from ..data.keys import KeyRing
from ..data.marks import Mark, MarkBook
from ..data.masking import masked
from .client_secret import Minted
from .endpoint import Endpoint
from .labels import PathLabels, read_labels
from .outcome import Break
from .place import WorkerPlace
from .request_key import request_key_fingerprint
from .shared import Shared

TEXT_CHARS_MAX = 512


class OpenCall(Protocol):
    """A call with a start line and no settle line yet: an HTTP attempt, or a model response on a WebSocket."""

    start: Start
    start_line: dict[str, Any]

    def break_off(self, broke: Break, *, error: str, flags: tuple[Flag, ...] = ()) -> None:
        """Settle it as it stands."""


class Recorder:
    """What all calls of one proxy share: its journal, clock, keys, marks, and the calls that are open."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: Clock,
        keys: KeyRing,
        marks: MarkBook,
        upstream: str,
        settled: Callable[[Mapping[str, Any]], None] | None = None,
        place: WorkerPlace | None = None,
    ) -> None:
        """`settled`: is told each settle line once it is written; may neither wait nor raise.

        `place`: whom it shares marks and client secrets with; None: it is not one of several workers.
        """
        self._settled = settled
        self.journal = journal
        self.clock = clock
        self.keys = keys
        self.marks = marks
        self.upstream = upstream
        self.open: dict[str, OpenCall] = {}
        self.settled = 0
        self._keys_seen: set[str] = set()
        self._minted = Minted()
        self.shared = None if place is None else Shared(place.board, marks, self._minted, clock)
        self._row = None if place is None else place.board.row(place.number)
        if self._row is not None:
            # Those of a worker that died in this place are open no more.
            self._row.calls_open = 0

    def start(
        self,
        *,
        method: str,
        path: PathLabels,
        headers: Mapping[str, str],
        endpoint: Endpoint,
        flags: tuple[Flag, ...] = (),
    ) -> tuple[Start, Labels]:
        """A call that begins now, with the labels it has by its request and the open marks."""
        if self.shared is not None:
            self.shared.catch_up()
        now_us = self.clock.now_us()
        key_fingerprint = request_key_fingerprint(headers, path.path)
        if key_fingerprint is not None:
            key_fingerprint = self._minted.owner(key_fingerprint)
        key = self.keys.find(key_fingerprint)
        key_framework = key.framework if key else None
        labels = read_labels(path, headers, key_framework=key_framework, marks=self.marks, now_us=now_us)
        api_key_id = key.api_key_id if key else None
        if key is None and key_fingerprint is not None:
            api_key_id = self.keys.id_of_tokens(labels.framework)
            key_framework = labels.framework if api_key_id is not None else None
        if key_fingerprint is not None and key_fingerprint not in self._keys_seen:
            self._keys_seen.add(key_fingerprint)
            self._tell_key(key_fingerprint, key_framework, api_key_id)
        start = Start(
            call_id=new_call_id(now_us),
            started_at=now_us,
            framework=labels.framework,
            key_fingerprint=key_fingerprint,
            api_key_id=api_key_id,
            run_id=labels.run_id,
            step=labels.step,
            label_source=labels.source,
            method=as_text(method) or "",
            path=_path_of_row(path.path.partition("?")[0].partition("#")[0]),
            endpoint=endpoint.name,
            usage_endpoint=endpoint.usage_endpoint,
            operation=endpoint.operation,
            retry_count=_whole_number(headers.get("x-stainless-retry-count")),
            organization=as_text(headers.get("openai-organization")),
            project=as_text(headers.get("openai-project")),
            upstream=path.upstream.url if path.upstream else self.upstream,
            flags=labels.flags + endpoint.flags + flags,
        )
        return start, labels

    def mint(self, key_fingerprint: str, start: Start) -> None:
        """A call was answered with a client secret: a key whose calls belong to the key of this one.

        Its `key` line is for other proxies of the ledger, which may meet it too.
        """
        if start.key_fingerprint is None or self.keys.find(key_fingerprint) is not None:
            # A framework's own key is nobody's client secret, whatever an upstream hands out.
            return
        with self._changing():
            self._minted.add(key_fingerprint, minted_by=start.key_fingerprint)
        # Without an id there is nothing to hand on, and a framework must not look as if it had one more key.
        if start.api_key_id is not None:
            key = self.keys.find(start.key_fingerprint)
            self._tell_key(key_fingerprint, key.framework if key else start.framework, start.api_key_id)

    def _changing(self) -> AbstractContextManager[None]:
        """A block that changes what the workers of a proxy know together."""
        return nullcontext() if self.shared is None else self.shared.changing()

    def _tell_key(self, key_fingerprint: str, framework: str | None, api_key_id: str | None) -> None:
        line = {"key_fingerprint": key_fingerprint, "framework": framework, "api_key_id": api_key_id}
        self.journal.append("key", line)

    def opened(self, call: OpenCall, labels: Labels) -> None:
        """Write a call's start line; it is open from now on."""
        self.open[call.start.call_id] = call
        if self._row is not None:
            self._row.calls_open = len(self.open)
        if labels.run_id is not None:
            self.marks.call_began(labels.framework, labels.run_id, call.start.started_at)
            if self.shared is not None:
                self.shared.call_began(labels.framework, labels.run_id, call.start.started_at)
        self.journal.append("start", call.start_line)

    def closing(self, call: OpenCall, labels: Labels) -> int:
        """A call is about to be settled; answers when that is."""
        self.open.pop(call.start.call_id, None)
        self.settled += 1
        if self._row is not None:
            self._row.calls_open = len(self.open)
            self._row.settled += 1
        now_us = self.clock.now_us()
        if labels.run_id is not None:
            self.marks.call_ended(labels.framework, labels.run_id, now_us)
        return now_us

    def settle(self, line: dict[str, Any]) -> None:
        """Write a call's settle line, and tell whoever watches."""
        self.journal.append("settle", line)
        if self._settled is not None:
            self._settled(line)

    def mark(self, mark: Mark) -> Mark:
        """Follow and journal a mark; answers it as journaled.

        Raises `SubmeterError`, and does neither, where it leaves open which of several open runs it is of.
        """
        with self._changing():
            self.marks.check_whole(mark)
            applied = self.marks.apply(mark)
        self.journal.append(applied.kind, applied.line())
        return applied

    def follow(self, mark: Mark) -> Mark:
        """Follow a mark that another proxy of the ledger has journaled."""
        with self._changing():
            return self.marks.apply(mark)


def as_text(value: str | None) -> str | None:
    """A header or body string as it may stand in JSON: bytes that are no UTF-8 replaced, length bounded."""
    if value is None or (len(value) <= TEXT_CHARS_MAX and value.isascii()):
        return value
    return value[:TEXT_CHARS_MAX].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _path_of_row(bare: str) -> str:
    """A path without query as it may stand in a row."""
    return _known_path(bare) if len(bare) <= TEXT_CHARS_MAX else _known_path.__wrapped__(bare)


@lru_cache(maxsize=1024)
def _known_path(bare: str) -> str:
    return masked(as_text(bare) or "")


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
