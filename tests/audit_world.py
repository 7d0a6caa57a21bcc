"""A small world to audit: a clock that is told the time, a journal as the proxy writes it, the simulator's own books.

A call is posted to the simulator's books and, if it was metered, written to the journal; the audit then reads the one
over HTTP and the other from the ledger. Nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from submeter.audit.audits import audit_runs, pending_runs
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.report import AuditReport, RunStanding
from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import LabelSource, Operation, Outcome, Result, Start, Usage, settle_line, start_line
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import Ledger
from submeter.sim.books import Entry
from submeter.sim.counts import Counts
from submeter.sim.server import Sim
from submeter.sim.settings import Key

BEGIN_S = 1_761_645_600
"""2025-10-28 10:00:00 UTC."""
MODEL = "gpt-4o-mini-2024-07-18"
KEYS = tuple(
    Key(secret=f"sk-{name}", api_key_id=f"key_{name}", name=name) for name in ("baes", "chatdev", "ghspec", "other")
)


class World:
    """One ledger, one pretend provider, one clock."""

    def __init__(self, folder: Path, sim: Sim, clock: FixedClock) -> None:
        self.path = folder / "l.duckdb"
        self.sim = sim
        self.clock = clock
        self.journal = Journal.open(self.path, mode="proxy", clock=clock)
        self.journal.begin(upstream="https://api.openai.com", listen=["http://127.0.0.1:8787"])
        self.ledger = Ledger(self.path, clock=clock)
        self.settings = AuditSettings(usage_api_url=sim.base_url, admin_key=sim.admin_key)
        self._known: set[str] = set()

    def to(self, minute: float) -> None:
        """It is now so many minutes after the begin."""
        self.at(minute * 60)

    def wait(self, minutes: float) -> None:
        """So many minutes pass, to the microsecond."""
        self.clock.set_us(self.clock.now_us() + round(minutes * 60 * US_PER_S))

    def at(self, second: float) -> None:
        """It is now so many seconds after the begin; nothing goes back."""
        now_us = (BEGIN_S * US_PER_S) + int(second * US_PER_S)
        assert now_us >= self.clock.now_us(), "time does not go back"
        self.clock.set_us(now_us)

    @property
    def minute(self) -> float:
        return self.second / 60

    @property
    def second(self) -> float:
        return self.clock.now_us() / US_PER_S - BEGIN_S

    def know_key(self, name: str, *, with_id: bool = True) -> None:
        """The proxy sees a framework's key for the first time."""
        if name not in self._known:
            self._known.add(name)
            self.journal.append(
                "key",
                {
                    "key_fingerprint": f"fp-{name}",
                    "framework": name,
                    "api_key_id": f"key_{name}" if with_id else None,
                },
            )

    def mark(self, run: str, edge: str, *, framework: str = "baes") -> None:
        self.journal.append(
            "run",
            {
                "framework": framework,
                "run_id": run,
                "edge": edge,
                "by": "cli",
                "marked_at": self.clock.now_us(),
            },
        )

    def post(
        self,
        key: str | None,
        counts: Counts,
        *,
        ended: float,
        model: str = MODEL,
        usage_endpoint: str = "completions",
        batch: bool = False,
    ) -> int:
        """Post a call to the provider's books, billed at that second."""
        entry = self.sim.books.open(
            lambda number: Entry(
                number=number,
                api_key_id=f"key_{key}" if key else None,
                key_secret_end="0000",
                project_id="proj_sim",
                user_id="user-sim",
                usage_endpoint=usage_endpoint,
                model=model,
                request_model=model,
                served_model=model,
                batch=batch,
                service_tier="default" if usage_endpoint == "completions" else None,
                counts=replace(counts, requests=1),
                started_at=BEGIN_S + ended - 1,
                request_id=f"req_{number}",
            )
        )
        self.sim.books.complete(entry.number, BEGIN_S + ended)
        return entry.number

    def call(
        self,
        key: str = "baes",
        *,
        lasts: float = 5.0,
        tokens: tuple[int, int, int] | None = (100, 40, 10),
        run: str | None = None,
        framework: str | None = None,
        model: str = MODEL,
        metered: bool = True,
        billed: bool = True,
        billed_as: str | None = None,
        billed_at: float | None = None,
        with_id: bool = True,
        outcome: Outcome | None = None,
        usage_endpoint: str | None = "completions",
        endpoint: str = "chat/completions",
        flags: Sequence[str] = (),
        **fields: Any,
    ) -> str:
        """One call from now on, `lasts` seconds, of chat unless told otherwise; the clock stands at its end afterwards.

        `tokens`: input, cached, output as billed; None bills nothing. `metered=False`: it goes past the meter.
        `outcome` other than metered: billed all the same if `billed`, but its usage is not told. `billed_as`,
        `billed_at`: under another model, at another second.
        """
        started_us = self.clock.now_us()
        self.at(self.second + lasts)
        if billed and tokens is not None:
            self.post(
                key,
                counts(tokens),
                ended=self.second if billed_at is None else billed_at,
                model=billed_as or model,
            )
        call_id = new_call_id(started_us)
        if metered:
            self.know_key(key, with_id=with_id)
            told = outcome in (None, Outcome.METERED)
            start = replace(
                self.start(call_id, started_us, key=key, framework=framework, run=run, with_id=with_id),
                usage_endpoint=usage_endpoint,
                endpoint=endpoint,
            )
            result = Result(
                outcome=outcome or Outcome.METERED,
                ended_at=self.clock.now_us(),
                status_code=200,
                request_model=model,
                response_model=model if told else None,
                usage_counts=Usage(
                    input_tokens=tokens[0] if tokens and told else None,
                    cached_input_tokens=tokens[1] if tokens and told else None,
                    output_tokens=tokens[2] if tokens and told else None,
                ),
            )
            line = settle_line(start, replace(result, **fields))
            self.journal.append("settle", {**line, "flags": [*line.get("flags", ()), *flags]} if flags else line)
        return call_id

    def draw(self, run: str, tokens: tuple[int, int], *, billed_as_tokens: bool, hidden: int = 0) -> str:
        """One call for an image that tells its tokens, input and output; it is billed by the image. Its call_id.

        `billed_as_tokens`: and as completions too. `hidden`: output tokens of its model that no call told.
        """
        model = "gpt-image-1"
        call_id = self.call(
            run=run,
            model=model,
            tokens=None,
            usage_endpoint="images",
            endpoint="images/generations",
            usage_counts=Usage(input_tokens=tokens[0], output_tokens=tokens[1], images=1),
        )
        self.post("baes", Counts(images=1), ended=self.second, model=model, usage_endpoint="images")
        if billed_as_tokens:
            self.post("baes", Counts(input_text=tokens[0], output_image=tokens[1]), ended=self.second, model=model)
        if hidden:
            self.post("baes", Counts(output_image=hidden), ended=self.second, model=model)
        return call_id

    def start(
        self,
        call_id: str,
        started_us: int,
        *,
        key: str = "baes",
        framework: str | None = None,
        run: str | None = None,
        with_id: bool = True,
    ) -> Start:
        return Start(
            call_id=call_id,
            started_at=started_us,
            framework=framework or key,
            key_fingerprint=f"fp-{key}",
            api_key_id=f"key_{key}" if with_id else None,
            run_id=run,
            step="1" if run else None,
            label_source=LabelSource.URL if run else None,
            method="POST",
            path="/v1/chat/completions",
            endpoint="chat/completions",
            usage_endpoint="completions",
            operation=Operation.CREATE,
            retry_count=None,
            organization=None,
            project=None,
            upstream="https://api.openai.com",
        )

    def open_call(self, *, run: str | None = None, key: str = "baes") -> str:
        call_id = new_call_id(self.clock.now_us())
        self.know_key(key)
        self.journal.append("start", start_line(self.start(call_id, self.clock.now_us(), key=key, run=run)))
        return call_id

    def a_run(self, run: str = "r-1", *, key: str = "baes", calls: int = 3, apart: float = 20.0) -> None:
        """A whole run of plain calls."""
        self.mark(run, "begin", framework=key)
        for number in range(calls):
            self.call(key, run=run, tokens=(100 + number, 40 + number, 10 + number))
            self.at(self.second + apart)
        self.mark(run, "end", framework=key)

    def judged(self, *runs: str, **request: Any) -> AuditReport:
        """The report of two audits that may confirm: 75 minutes from now, and 30 later."""
        self.wait(75)
        self.audit(*runs, **request)
        self.wait(30)
        return self.audit(*runs, **request)

    def audit(self, *runs: str, settings: AuditSettings | None = None, **request: Any) -> AuditReport:
        """One `submeter audit`, as a process of its own would make it."""
        settings = settings or self.settings
        with (
            Journal.open(self.path, mode="audit", clock=self.clock) as journal,
            UsageApi(settings, clock=self.clock) as client,
        ):
            return audit_runs(
                self.ledger,
                request=AuditRequest(runs=runs, **request),
                settings=settings,
                client=client,
                clock=self.clock,
                journal=journal,
            )

    def pending(self, *, settings: AuditSettings | None = None, **request: Any) -> tuple[RunStanding, ...]:
        """Where every run stands. What is remembered of it has to be the same, and so has a look at what came later."""
        kept = self.pending_as_remembered(settings=settings, **request)
        self.remembered.unlink(missing_ok=True)
        later = self.pending_as_remembered(settings=settings, **request)
        self.remembered.unlink(missing_ok=True)
        self.past.unlink(missing_ok=True)
        found = self.pending_as_remembered(settings=settings, **request)
        assert kept == later == found
        return found

    @property
    def remembered(self) -> Path:
        return self.path.with_name(self.path.name + ".journal") / "standings.json"

    @property
    def past(self) -> Path:
        return self.path.with_name(self.path.name + ".journal") / "past.json"

    def pending_as_remembered(
        self, *, settings: AuditSettings | None = None, **request: Any
    ) -> tuple[RunStanding, ...]:
        return pending_runs(
            self.ledger,
            request=AuditRequest(pending=True, **request),
            settings=settings or self.settings,
            clock=self.clock,
            reads_folder=PageStore(self.path.with_name(self.path.name + ".journal") / "reads"),
        )


def counts(tokens: tuple[int, int, int]) -> Counts:
    """Input, cached and output as the provider's books have them."""
    given, cached, written = tokens
    return Counts(input_text=given - cached, cached_text=cached, output_text=written)


def said(report: AuditReport) -> dict[str, tuple[Verdict, Reason | None]]:
    """The verdict on each run of a report, by its id."""
    return {line.run[1] if line.run else line.name: (line.verdict, line.reason) for line in report.runs}


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """A world at 10:00:00, its provider serving."""
    clock = FixedClock(BEGIN_S * US_PER_S)
    given = {"keys": KEYS, "late_share": 0.0, **settings}
    with Sim(now=lambda: clock.now_us() / US_PER_S, **given) as sim:
        made = World(folder, sim, clock)
        try:
            yield made
        finally:
            made.journal.close()
