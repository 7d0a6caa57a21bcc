"""The proxy's own paths under `/_submeter/`. Pure: a request in, an answer out.

    GET  /_submeter/            the live page; /_submeter/live: as JSON; /_submeter/metrics: for Prometheus
    GET  /_submeter/health      what this proxy is and how it fares, as JSON
    POST /_submeter/run         {"run": "chatdev/r-1", "edge": "begin"}
    POST /_submeter/step        {"run": "chatdev/r-1", "step": "4.7", "edge": "begin", "status": "..."}

A request that a web page could have sent is refused: one with an `Origin`, or with a `Host` that is not this
listener's own (DNS rebinding). Never here: anything of the calls' content.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from ..data.call import Edge, MarkedBy
from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.marks import Mark, check_framework, check_label, check_run_id, check_step, split_run
from .guesses import Guesses
from .labels import TOKEN_HEADER
from .refusal import Answer, answer_json, refusal

PREFIX = "/_submeter"
BODY_BYTES_MAX = 64 * 1024
STATUS_CHARS_MAX = 256
TO_THE_PAGE = Answer(status_code=303, body=b"", content_type="text/plain", more=(f"Location: {PREFIX[1:]}/",))
"""Leads from `/` and `/_submeter` to the live page, behind whatever label stands in front."""
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(slots=True, kw_only=True)
class Control:
    """Answers control requests of one proxy."""

    clock: Clock
    apply: Callable[[Mark], Mark]
    """Follow and journal a mark."""
    follow: Callable[[Mark], Mark]
    """Follow a mark that another proxy of the ledger has journaled."""
    health: Callable[[], Mapping[str, Any]]
    hosts: frozenset[str] = field(default_factory=frozenset)
    """Host names, beyond loopback's, under which this listener may be asked."""
    token: str | None = None
    """What a listener beyond loopback asks for in `X-Submeter-Token`."""
    workers: int = 1
    """How many processes share this listener, each with guesses of its own."""
    views: Mapping[str, Callable[[], Answer]] = field(default_factory=dict)
    """What else can be looked at, by the path behind `/_submeter/`; none of it may wait."""
    guesses: Guesses = field(init=False)

    def __post_init__(self) -> None:
        self.guesses = Guesses(self.clock, self.workers)

    def token_refused(self, token: str | None, address: str) -> tuple[int, str] | None:
        """Why a request from this address may not use this listener, as (status code, reason), or None."""
        if self.token is None:
            return None
        if self.guesses.shut(address):
            return 429, "too many wrong tokens came from this address; it is heard again in the next minute"
        if token_matches(self.token, token):
            return None
        if token is not None:
            self.guesses.note(address)
        return 401, "this listener asks for its token, in X-Submeter-Token or /token/<token>/v1"

    def refused(self, headers: Mapping[str, str], address: str = "") -> Answer | None:
        """Why this request may not use the control paths, or None."""
        if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return refusal(403, "A web page may not use the control paths.")
        host = headers.get("host", "")
        name = host[: host.rfind(":")] if host.rfind(":") > host.rfind("]") else host
        if name.lower() not in _LOOPBACK_NAMES | self.hosts:
            return refusal(403, "This Host is not this proxy's own.")
        token_refused = self.token_refused(headers.get(TOKEN_HEADER), address)
        return None if token_refused is None else refusal(token_refused[0], f"submeter: {token_refused[1]}")

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to a request that `refused` let pass. `path` is without the query."""
        what = path.removeprefix(PREFIX).strip("/")
        if what in self.views:
            if method not in ("GET", "HEAD"):
                return refusal(405, "Use GET.")
            return self.views[what]() if path.startswith(f"{PREFIX}/") else TO_THE_PAGE
        if what in ("", "health"):
            return answer_json(200, self.health()) if method in ("GET", "HEAD") else refusal(405, "Use GET.")
        if what in ("run", "step"):
            return (
                self._mark("run" if what == "run" else "step", body) if method == "POST" else refusal(405, "Use POST.")
            )
        there_are = ", ".join(sorted({"health", "run", "step", *filter(None, self.views)}))
        return refusal(404, f"No such control path; there are {there_are}.")

    def _mark(self, kind: Literal["run", "step"], body: bytes) -> Answer:
        try:
            mark = self._read_mark(kind, body)
            applied = self.follow(mark) if orjson.loads(body).get("journal") is False else self.apply(mark)
        except SubmeterError as error:
            return refusal(400, str(error))
        return answer_json(200, {"kind": applied.kind, **applied.line()})

    def _read_mark(self, kind: Literal["run", "step"], body: bytes) -> Mark:
        try:
            given = orjson.loads(body)
            if not isinstance(given, dict):
                raise TypeError
            run = given["run"]
            framework = given.get("framework")
            step = given["step"] if kind == "step" else None
            status = given.get("status")
            edge = Edge(given.get("edge", "begin"))
            if not all(isinstance(text, str) for text in (run, framework or "", step or "", status or "")):
                raise TypeError
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise SubmeterError(
                f"This {kind} mark cannot be read.",
                "It is a JSON object of strings: run, edge (begin or end), step, and if wanted framework and status.",
                'Such as: {"run": "chatdev/r-1", "step": "1", "edge": "begin"}',
            ) from error
        named, run_id = named_run(run, framework or None)
        return Mark(
            kind=kind,
            framework=named,
            run_id=run_id,
            step=check_step(step) if step is not None else None,
            edge=edge,
            by=_marked_by(given.get("by")),
            marked_at=self.clock.now_us(),
            status=checked_status(status),
        )


def named_run(run: str, framework: str | None) -> tuple[str | None, str]:
    """Framework (None: not said) and run id of a mark; the framework may stand in the run too, as F/ID.

    Raises `SubmeterError` for what cannot be a label, and for a run whose one part is empty, such as `chatdev/`.
    """
    named, run_id = split_run(run)
    if framework is not None and named != framework.lower():
        named, run_id = framework.lower(), run
    if run_id.startswith("/") or run_id.endswith("/"):
        raise SubmeterError(
            f"Run {run[:40]!r} has nothing on one side of its slash.",
            "A run is written ID or FRAMEWORK/ID.",
            "Such as: submeter step begin 4.7 --run chatdev/r-1",
        )
    if named is not None:
        check_framework(named)
    return named, check_run_id(run_id)


def checked_status(status: str | None) -> str | None:
    """The orchestrator's word, None where it said none or an empty one; `SubmeterError` for what is no label."""
    return check_label("Status", status, STATUS_CHARS_MAX) if status else None


def _marked_by(said: object) -> MarkedBy:
    """Our own command and Python interface say who they are; whoever else asks came by HTTP."""
    return {"cli": MarkedBy.CLI, "python": MarkedBy.PYTHON}.get(str(said), MarkedBy.HTTP)


def token_matches(token: str, given: str | None) -> bool:
    """Whether the given token is the asked one, in constant time."""
    return hmac.compare_digest(token.encode(), (given or "").encode("utf-8", "surrogateescape"))
