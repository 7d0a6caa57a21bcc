"""What the pretend service remembers between calls, and how a completed call is billed.

Settings, books, stored objects and counters: shared by all endpoints, which get it as their first argument. Nothing
here knows HTTP.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .books import Books, Entry, Line
from .counts import Counts
from .frame import Frame, Json, Request
from .models import Model
from .script import Script
from .settings import Key, Settings
from .words import chance, hexadecimal

STORED_MAX = 10_000
"""Stored responses and chat completions kept of each kind; the oldest go first."""

KEPT_MAX = 1_000
"""Other objects kept of each kind: files, conversations, batches ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A response or chat completion that can be read again."""

    body: Json
    """As it is when completed."""
    frames: tuple[Frame, ...] = ()
    """The events of its stream, for a resumed one."""
    items: tuple[Json, ...] = ()
    """A response's input, as items."""
    entry: int
    started_at: float
    ready_at: float
    """When it is done, by the given clock; later than `started_at` only in the background."""
    cancelled: bool = False


@dataclass(slots=True, kw_only=True)
class Kept:
    """An object that is made, read, changed and deleted by clients and costs nothing."""

    body: Json
    items: list[Json] = field(default_factory=list)
    """What is in it, as objects of their own: a conversation's items, a vector store's files."""
    content: bytes = b""
    """A file's bytes."""
    entries: tuple[int, ...] = ()
    """A batch's calls in the books."""
    ready_at: float = 0.0
    """When a batch is done, by the given clock."""


class State:
    """The service's memory. Used from the server's thread; `books` from any."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.books = Books(self.bill)
        self.responses: OrderedDict[str, Stored] = OrderedDict()
        self.chats: OrderedDict[str, Stored] = OrderedDict()
        self.script = Script(settings.script)
        self.minted: dict[str, Key] = {}
        """Short-lived secrets, each with the key that made it: its calls are that key's."""
        self.shelves: defaultdict[str, OrderedDict[str, Kept]] = defaultdict(OrderedDict)
        """Everything else that can be made and read again, by its kind: files, conversations, vector stores ..."""
        self._seen: Counter[bytes] = Counter()
        self._calls = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """The given clock."""
        return self.settings.now()

    def key_of(self, secret: str) -> Key | None:
        """The configured key with this secret, or the one that minted it."""
        return next((key for key in self.settings.keys if key.secret == secret), self.minted.get(secret))

    def next_request_id(self) -> str:
        """`req_` and 32 hexadecimal digits, never twice."""
        with self._lock:
            self._calls += 1
            return hexadecimal(chance(self.settings.seed, "request", self._calls), "req_")

    def repetition(self, path: str, body: bytes) -> int:
        """How often this very request came before: equal requests get unequal counts, whatever their order."""
        digest = hashlib.sha256(path.encode("utf-8", "surrogatepass") + b"\0" + body).digest()[:12]
        with self._lock:
            self._seen[digest] += 1
            return self._seen[digest] - 1

    def store(self, kind: OrderedDict[str, Stored], identifier: str, stored: Stored) -> None:
        """Keep an object for later reads."""
        kind[identifier] = stored
        while len(kind) > STORED_MAX:
            kind.popitem(last=False)

    def open_entry(
        self,
        request: Request,
        *,
        model: Model,
        usage_endpoint: str,
        counts: Counts,
        response_id: str | None = None,
        service_tier: str | None = None,
        cached_silent: bool = False,
        usage_told: bool = True,
        background: bool = False,
        source: str | None = None,
        size: str | None = None,
    ) -> Entry:
        """Write a call into the books, before anything of its answer exists."""
        asked = request.body.get("model")
        return self.books.open(
            lambda number: Entry(
                number=number,
                api_key_id=request.key.api_key_id if request.key.tracked else None,
                key_secret_end=request.key.secret[-4:],
                project_id=request.key.project_id,
                user_id=request.key.user_id,
                usage_endpoint=usage_endpoint,
                model=model.billed_as,
                request_model=asked if isinstance(asked, str) else None,
                served_model=model.name,
                batch=request.batch,
                service_tier=service_tier,
                counts=counts,
                cached_silent=cached_silent,
                usage_told=usage_told,
                started_at=request.at,
                streamed=request.streamed,
                background=background,
                request_id=request.request_id,
                response_id=response_id,
                attempt=request.headers.get("x-stainless-retry-count"),
                path=request.target,
                source=source,
                size=size,
            )
        )

    def post_tool(self, entry: Entry, usage_endpoint: str, calls: int, at: float) -> None:
        """Bill the calls that a response made of a hosted tool: by the call, on an endpoint of their own."""
        lag = self.settings.lag
        self.books.post(
            Line(
                entry=entry.number,
                billed_at=int(at),
                visible_from=at + (max(lag) if isinstance(lag, tuple) else lag),
                counts=Counts(requests=1, tool_calls=calls),
                usage_endpoint=usage_endpoint,
            )
        )

    def bill(self, entry: Entry) -> Sequence[Line]:
        """The lines of a completed call: which instant, in how many parts, visible from when."""
        settings = self.settings
        rng = chance(settings.seed, "bill", entry.number, entry.request_id)
        completed = entry.completed_at if entry.completed_at is not None else entry.started_at
        lag = rng.uniform(*settings.lag) if isinstance(settings.lag, tuple) else settings.lag
        at = int(completed) + (settings.late_s if rng.random() < settings.late_share else 0)
        parts: list[tuple[int, float, Counts]] = [(at, 0.0, entry.counts)]
        if rng.random() < settings.split_share:
            half = entry.counts.part(0.5)
            parts = [(at, 0.0, half), (at + 60, 0.0, entry.counts - half)]
        elif rng.random() < settings.rise_share:
            half = entry.counts.part(0.5)
            parts = [(at, 0.0, half), (at, settings.correction_s, entry.counts - half)]
        elif rng.random() < settings.fall_share:
            extra = entry.counts.part(0.1)
            parts = [(at, 0.0, entry.counts + extra), (at, settings.correction_s, Counts() - extra)]
        return [
            Line(
                entry=entry.number,
                billed_at=instant,
                visible_from=max(completed + lag, float(instant)) + later,
                counts=counts,
                usage_endpoint=entry.usage_endpoint,
            )
            for instant, later, counts in parts
            if counts
        ]
