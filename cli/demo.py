"""`submeter demo`: a pretend OpenAI, an experiment of three frameworks, the meter, and the audit, in under a minute.

No key and no network. Everything runs on one clock that is faster than the wall by a stated factor, because an audit
waits an hour for the bill to settle, and the demo waits for it twice. No rule is relaxed for it.

The story is told on stderr, its tables on stdout. What it measured stays in the folder it names.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ..data.clock import ScaledClock, utc
from ..data.error import SubmeterError
from .harmless_text import drawn
from .invocation import CANNOT_TELL, Invocation, pass_invocation
from .output import print_table, say

if TYPE_CHECKING:
    from rich.table import Table

    from ..audit.report import AuditReport
    from ..data.ledger import Ledger
    from ..proxy import Submeter
    from ..sim import Sim
    from .demo_experiment import PlannedRun

FACTOR = 600
FOLDER = "submeter-demo"
MARKER = ".submeter-demo"
SECRETS = {name: f"sk-demo-{name}-0123456789" for name in ("baes", "chatdev", "ghspec")}
KEY_IDS = {name: f"key_demo_{name}" for name in SECRETS}
ADMIN_KEY = "sk-admin-demo"
LIVE_EVERY_S = 0.25
AUDITS_MAX = 12
SECOND_READ_MIN = 30
QUERIES = (
    "SELECT framework, step, sum(input_tokens) AS input, sum(output_tokens) AS output FROM step_usage GROUP BY ALL "
    "ORDER BY ALL",
    "SELECT started_at, step, response_model, input_tokens, output_tokens FROM calls WHERE run_id = 'demo_run_1' "
    "AND framework = 'chatdev' ORDER BY started_at",
    "SELECT run_id, step, outcome, standing, status_code, error FROM calls WHERE outcome <> 'metered'",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bypass:
    """A call that went past the proxy, as the provider's own books have it."""

    input_tokens: int
    output_tokens: int


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(FOLDER),
    show_default=True,
    help="Where the demo leaves its ledger; an earlier demo there makes way.",
)
@pass_invocation
def demo(invocation: Invocation, folder: Path) -> None:
    """Show it all on a simulated OpenAI: meter an experiment, audit it, catch a call that bypasses the meter.

    \b
    Example:
        submeter demo
    """
    began = time.monotonic()
    _make_room(folder)
    clock = ScaledClock(FACTOR)
    story = Story(folder=folder, clock=clock)
    story.tell()
    say(f"\nThat took {time.monotonic() - began:.0f} s of yours. The ledger stays; ask it:")
    for query in QUERIES:
        click.echo(f'  submeter --ledger {story.ledger_path} sql "{query}"', err=True)


def _make_room(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise SubmeterError(
                f"The folder {folder} is not empty.",
                "It does not look like one that an earlier demo left, so nothing in it was touched.",
                "Choose another place: submeter demo --folder /tmp/submeter-demo",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


class Story:
    """The demo, act by act."""

    def __init__(self, *, folder: Path, clock: ScaledClock) -> None:
        from ..data.ledger import Ledger

        self.folder = folder
        self.ledger_path = folder / "submeter.duckdb"
        self.clock = clock
        self.ledger = Ledger(self.ledger_path, clock=clock)
        self.environment = {
            **{f"OPENAI_API_KEY_{name.upper()}": secret for name, secret in SECRETS.items()},
            **{f"OPENAI_API_KEY_{name.upper()}_ID": key_id for name, key_id in KEY_IDS.items()},
        }

    def tell(self) -> None:
        """All acts, one after the other."""
        from ..sim import Key, Sim
        from ..sim.faults import Fault, FaultKind
        from .demo_experiment import FRAMEWORKS, RUNS, Experiment, plan_run

        plans = [plan_run(framework, number) for framework in FRAMEWORKS for number in RUNS]
        once = Fault(kind=FaultKind.STATUS, status=429, retry_after="1", path="/v1/chat/completions", nth=(7,))
        keys = [Key(secret=SECRETS[name], api_key_id=KEY_IDS[name]) for name in FRAMEWORKS]
        say(f"The demo's clock runs {FACTOR} times as fast as yours: an hour of settling takes {3600 / FACTOR:.0f} s.")
        with Sim(
            now=lambda: self.clock.now_us() / 1e6, seed=2026, keys=keys, admin_key=ADMIN_KEY, faults=(once,)
        ) as sim:
            say(f"1. A pretend OpenAI keeps its own books at {sim.url}.")
            with self._meter(sim.url) as meter:
                say(f"2. The meter listens at {meter.url}; {len(plans)} runs of {len(FRAMEWORKS)} frameworks start.")
                experiment = Experiment(meter, clock=self.clock, secrets=SECRETS, folder=self.folder / "runs")
                with self._live(plans):
                    experiment.run_all(plans)
                self._import_metrics()
            self._show_steps(plans)
            say("3. Audit: our book against the provider's bill, minute by minute, key by key.")
            names = [f"{plan.framework}/{plan.run_id}" for plan in plans]
            report = self._audit(sim.url, names)
            self._show_verdicts(report)
            if {line.verdict for line in report.runs} != {"verified"}:
                raise self._unexpected("the experiment was not verified")
            self._bypass(sim, plan_run("chatdev", 3, steps=2))

    def _bypass(self, sim: Sim, plan: PlannedRun) -> None:
        from .demo_experiment import Experiment

        say("4. One more run of chatdev, during which one call goes straight to the provider, past the meter.")
        with self._meter(sim.url) as meter:
            experiment = Experiment(meter, clock=self.clock, secrets=SECRETS, folder=self.folder / "runs")
            straight = threading.Timer(0.1, _call_directly, (sim.base_url, SECRETS["chatdev"]))
            straight.start()
            experiment.run(plan)
            straight.join()
        direct = next(e for e in reversed(sim.books.entries) if e.attempt is None)
        bypass = Bypass(input_tokens=direct.counts.input_tokens, output_tokens=direct.counts.output_tokens)
        report = self._audit(sim.url, [f"{plan.framework}/{plan.run_id}"])
        self._show_verdicts(report)
        difference = _difference(report)
        say(
            f"   The bill has {difference['input_tokens']:,} input and {difference['output_tokens']:,} output tokens "
            f"more than the book.\n   The provider's own books say of the call that bypassed the meter: "
            f"{bypass.input_tokens:,} and {bypass.output_tokens:,}."
        )
        exact = difference == {"input_tokens": bypass.input_tokens, "output_tokens": bypass.output_tokens}
        if {line.verdict for line in report.runs} != {"short"} or not exact:
            raise self._unexpected("the bypass was not caught to the token")

    def _meter(self, upstream: str) -> Submeter:
        from ..proxy import Submeter

        environment = {**os.environ, **self.environment}
        return Submeter(self.ledger_path, upstream=upstream, clock=self.clock, environment=environment)

    def _audit(self, usage_api: str, runs: list[str]) -> AuditReport:
        """Audit these runs again and again, as `submeter audit --wait` does, until every verdict is final."""
        from ..audit.audits import audit_runs
        from ..audit.choice import AuditRequest
        from ..audit.settings import AuditSettings
        from ..audit.usage_api import UsageApi
        from ..data.journal import Journal

        settings = AuditSettings(usage_api_url=f"{usage_api}/v1", admin_key=ADMIN_KEY, framework_key_ids=dict(KEY_IDS))
        for _ in range(AUDITS_MAX):
            with (
                UsageApi(settings, clock=self.clock) as client,
                Journal.open(self.ledger_path, mode="audit", clock=self.clock) as journal,
            ):
                report = audit_runs(
                    self.ledger,
                    request=AuditRequest(runs=tuple(runs)),
                    settings=settings,
                    client=client,
                    clock=self.clock,
                    journal=journal,
                )
            say(f"   {utc(self.clock.now_us()):%H:%M} UTC on the demo's clock: {report.summary}")
            waits = [line.next_read_us for line in report.runs if not line.final and line.next_read_us is not None]
            if all(line.final for line in report.runs):
                return report
            self._wait_until(max(waits, default=self.clock.now_us() + SECOND_READ_MIN * 60_000_000))
        raise self._unexpected(f"no final verdict after {AUDITS_MAX} audits")

    def _wait_until(self, until_us: int) -> None:
        """Let the demo's clock run, with a bar that says what for."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        seconds = (until_us - self.clock.now_us()) / 1e6 / FACTOR
        if seconds <= 0:
            return
        what = f"   the bill settles until {utc(until_us):%H:%M} UTC"
        console = Console(file=drawn(sys.stderr))
        if not console.is_terminal:
            say(what)
            time.sleep(seconds)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=seconds)
            while (left := (until_us - self.clock.now_us()) / 1e6 / FACTOR) > 0:
                progress.update(task, completed=seconds - left)
                time.sleep(min(left, 0.1))

    def _import_metrics(self) -> None:
        """What `submeter metrics import` does: runs and steps of the framework that labels nothing itself."""
        from ..data.journal import Journal
        from ..data.metrics import find_metrics, read_metrics

        with Journal.open(self.ledger_path, mode="metrics", clock=self.clock) as journal:
            journal.begin()
            for path in find_metrics(self.folder / "runs"):
                for mark in read_metrics(path):
                    journal.append(mark.kind, mark.line())

    @contextmanager
    def _live(self, plans: list[PlannedRun]) -> Iterator[None]:
        """The per-step table, filling as calls come in, where there is a terminal to show it on."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=drawn(sys.stderr))
        if not console.is_terminal:
            yield
            return
        ended = threading.Event()
        with Live(_step_table(plans, {}), console=console, transient=True, auto_refresh=False) as live:

            def watch() -> None:
                while not ended.wait(LIVE_EVERY_S):
                    if self.ledger_path.exists():
                        live.update(_step_table(plans, _step_cells(self.ledger)), refresh=True)

            watcher = threading.Thread(target=watch, name="submeter-demo-live")
            watcher.start()
            try:
                yield
            finally:
                ended.set()
                watcher.join()

    def _show_steps(self, plans: list[PlannedRun]) -> None:
        self.ledger.ingest()
        table = self.ledger.query("demo_steps")
        print_table(table.columns, table.rows, counts=("calls", "input", "cached", "output", "unknown"))

    def _show_verdicts(self, report: AuditReport) -> None:
        print_table(
            ("run", "verdict", "proof", "attempts"),
            [
                (line.name, line.verdict, ", ".join(sorted({part.proof or "-" for part in line.parts})), line.attempt)
                for line in report.runs
            ],
        )

    def _unexpected(self, what: str) -> SubmeterError:
        return SubmeterError(
            f"The demo did not end as it should: {what}.",
            f"Everything it saw is in {self.ledger_path} and the journal beside it.",
            f"Look at: submeter --ledger {self.ledger_path} runs",
            exit_code=CANNOT_TELL,
        )


def _call_directly(base_url: str, secret: str) -> None:
    """What a framework with a hard-coded URL does."""
    base = urlsplit(base_url)
    connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=30)
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "This call goes past the meter."}]}
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    connection.request("POST", f"{base.path}/chat/completions", json.dumps(body), headers)
    connection.getresponse().read()
    connection.close()


def _difference(report: AuditReport) -> dict[str, int]:
    """Bill minus book over all parts and models of a report, as the audit has it."""
    total = {"input_tokens": 0, "output_tokens": 0}
    for line in report.runs:
        for part in line.parts:
            for unit in part.detail["units"]:
                if unit["field"] in total:
                    total[unit["field"]] += unit["d"]
    return total


def _step_cells(ledger: Ledger) -> dict[tuple[str, str, str], str]:
    """Calls and tokens by (framework, run, step)."""
    table = ledger.query("SELECT framework, run_id, step, calls, input_tokens, output_tokens FROM step_usage")
    return {
        (str(framework), str(run_id), str(step)): f"{calls}: {inputs:,}+{outputs:,}"
        if inputs is not None
        else f"{calls}"
        for framework, run_id, step, calls, inputs, outputs in table.rows
    }


def _step_table(plans: list[PlannedRun], cells: Mapping[tuple[str, str, str], str]) -> Table:
    from rich.table import Table

    table = Table(title="calls: input + output tokens, by step", title_justify="left")
    table.add_column("run")
    steps = [str(number) for number in range(1, 1 + max(len(plan.steps) for plan in plans))]
    for step in steps:
        table.add_column(f"step {step}", justify="right")
    for plan in plans:
        table.add_row(
            f"{plan.framework}/{plan.run_id}",
            *(cells.get((plan.framework, plan.run_id, step), "") for step in steps),
        )
    return table
