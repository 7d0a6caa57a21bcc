"""A short play on a ledger's stage: one process's journal, a clock that moves when told, and calls in one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from submeter.data.call import (
    Edge,
    Flag,
    LabelSource,
    MarkedBy,
    Operation,
    Outcome,
    Result,
    Start,
    Usage,
    UsageSource,
    settle_line,
    start_line,
)
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import Ledger
from submeter.data.marks import Mark

NOON_US = 1_795_348_800 * US_PER_S
"""2026-11-22 12:00:00 UTC."""


class Play:
    """One ledger, one process writing to it, one clock."""

    def __init__(self, folder: Path, *, now_us: int = NOON_US) -> None:
        folder.mkdir(exist_ok=True)
        self.clock = FixedClock(now_us)
        self.path = folder / "submeter.duckdb"
        self.ledger = Ledger(self.path, clock=self.clock)
        self.journal = self.open_journal()

    def open_journal(self, mode: str = "proxy") -> Journal:
        """One more process of this ledger; a `proxy` has an upstream."""
        journal = Journal.open(self.path, mode=mode, clock=self.clock)
        journal.begin(upstream="http://127.0.0.1:9" if mode == "proxy" else None)
        return journal

    def wait(self, seconds: float) -> Play:
        self.clock.sleep(seconds)
        return self

    def start(
        self,
        run_id: str | None = "r-1",
        step: str | None = "1",
        framework: str | None = "chatdev",
        *,
        usage_endpoint: str | None = "completions",
        operation: Operation = Operation.CREATE,
        flags: tuple[Flag, ...] = (),
        key: str | None = "ab12",
        api_key_id: str | None = "key_chatdev",
        method: str = "POST",
        retry_count: int | None = None,
        journal: Journal | None = None,
    ) -> Start:
        """Begin a call now."""
        start = Start(
            call_id=new_call_id(self.clock.now_us()),
            started_at=self.clock.now_us(),
            framework=framework,
            key_fingerprint=key,
            api_key_id=api_key_id,
            run_id=run_id,
            step=step,
            label_source=LabelSource.URL if run_id or step else None,
            method=method,
            path="/v1/chat/completions",
            endpoint="chat/completions",
            usage_endpoint=usage_endpoint,
            operation=operation,
            retry_count=retry_count,
            organization=None,
            project=None,
            upstream="http://127.0.0.1:9",
            flags=flags,
        )
        (journal or self.journal).append("start", start_line(start))
        return start

    def settle(
        self,
        start: Start,
        *,
        input_tokens: int | None = 10,
        output_tokens: int | None = 5,
        outcome: Outcome = Outcome.METERED,
        status_code: int | None = 200,
        journal: Journal | None = None,
        counts: Usage | None = None,
        **result: Any,
    ) -> Start:
        """End a call now."""
        counts = counts or Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        said = counts != Usage()
        line = settle_line(
            start,
            Result(
                outcome=outcome,
                ended_at=self.clock.now_us(),
                status_code=status_code,
                usage_counts=counts,
                usage={"prompt_tokens": counts.input_tokens, "completion_tokens": counts.output_tokens}
                if said
                else None,
                usage_source=UsageSource.REPORTED if said else None,
                **result,
            ),
        )
        (journal or self.journal).append("settle", line)
        return start

    def call(self, run_id: str | None = "r-1", step: str | None = "1", *, took_s: float = 1, **said: Any) -> Start:
        """One whole call."""
        ours = ("framework", "usage_endpoint", "operation", "flags", "key", "api_key_id", "method", "retry_count")
        start = self.start(run_id, step, **{name: said.pop(name) for name in ours if name in said})
        self.wait(took_s)
        return self.settle(start, **said)

    def mark(
        self,
        edge: Edge,
        step: str | None = None,
        *,
        run_id: str = "r-1",
        framework: str | None = "chatdev",
        by: MarkedBy = MarkedBy.CLI,
        at: int | None = None,
        status: str | None = None,
        journal: Journal | None = None,
    ) -> None:
        """One edge of a run, or of a step where one is named."""
        mark = Mark(
            kind="run" if step is None else "step",
            framework=framework,
            run_id=run_id,
            step=step,
            edge=edge,
            by=by,
            marked_at=self.clock.now_us() if at is None else at,
            status=status,
        )
        (journal or self.journal).append(mark.kind, mark.line())

    def begin(self, step: str | None = None, **said: Any) -> None:
        self.mark(Edge.BEGIN, step, **said)

    def end(self, step: str | None = None, **said: Any) -> None:
        self.mark(Edge.END, step, **said)

    def told(self, sql: str, parameters: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Ingest, then ask."""
        turn = self.ledger.ingest()
        assert turn.problems == ()
        return self.ledger.query(sql, parameters).rows
