"""The demo's experiment: three frameworks, two runs each, six steps, as an orchestrator would drive them.

    baes      its run in the URL, its steps by marks over HTTP (`POST /_submeter/step`); both runs at once
    chatdev   run and step in the URL, a process for each step; both runs at once
    ghspec    OPENAI_BASE_URL and nothing else; one run after the other, times in a metrics.json

Each framework is a process of its own (`sample_framework`) that knows only its environment. Never here: a count of
tokens; what was used is for the meter to say.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..data.clock import Clock, utc
from ..proxy import Submeter

FRAMEWORKS = ("baes", "chatdev", "ghspec")
RUNS = (1, 2)
STEPS = 6
BETWEEN_STEPS_S = 0.03
"""Wall clock. A step's times in a metrics.json are whole seconds, so that steps need some room between them."""
_KINDS = ("chat", "chat", "stream", "response", "response_stream", "embedding")
_WORDS = (
    "build",
    "a",
    "small",
    "service",
    "with",
    "students",
    "courses",
    "and",
    "teachers",
    "tests",
    "routes",
    "models",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run, decided before it starts."""

    framework: str
    run_id: str
    steps: tuple[tuple[tuple[str, str], ...], ...]
    """For each step its calls, as (kind, prompt); some steps have none."""

    @property
    def calls(self) -> int:
        return sum(len(step) for step in self.steps)


def plan_run(framework: str, number: int, *, steps: int = STEPS) -> PlannedRun:
    """The same run every time: two to four calls a step, none in one step of each run."""
    chance = random.Random(f"{framework}/{number}")
    quiet = chance.randrange(1, steps)
    planned = []
    for step in range(steps):
        count = 0 if step == quiet else chance.randint(2, 4)
        planned.append(
            tuple(
                (chance.choice(_KINDS), " ".join(chance.choices(_WORDS, k=chance.randint(4, 40)))) for _ in range(count)
            )
        )
    return PlannedRun(framework=framework, run_id=f"demo_run_{number}", steps=tuple(planned))


class Experiment:
    """Drives planned runs through a running meter."""

    def __init__(self, meter: Submeter, *, clock: Clock, secrets: Mapping[str, str], folder: Path) -> None:
        self._meter = meter
        self._clock = clock
        self._secrets = secrets
        self._folder = folder
        """Where each run's `metrics.json` goes, as `<framework>/<run_id>/metrics.json`."""

    def run_all(self, plans: list[PlannedRun]) -> None:
        """All runs, overlapping where their frameworks label their calls themselves."""
        ghspec = [plan for plan in plans if plan.framework == "ghspec"]
        with ThreadPoolExecutor(max_workers=len(plans)) as pool:
            pending = [pool.submit(self.run, plan) for plan in plans if plan.framework != "ghspec"]
            pending.append(pool.submit(self._one_by_one, ghspec))
            for run in pending:
                run.result()

    def _one_by_one(self, plans: list[PlannedRun]) -> None:
        for plan in plans:
            self.run(plan)

    def run(self, plan: PlannedRun) -> None:
        """One run, in its framework's own way."""
        match plan.framework:
            case "baes":
                self._with_marks(plan)
            case "chatdev":
                self._with_urls(plan)
            case _:
                self._with_times(plan)

    def _with_marks(self, plan: PlannedRun) -> None:
        with self._meter.run(plan.framework, run_id=plan.run_id) as run, self._framework(plan, run.env()) as do_step:
            for number, calls in enumerate(plan.steps, start=1):
                self._mark(run.name, str(number), "begin")
                do_step(calls)
                self._mark(run.name, str(number), "end")

    def _with_urls(self, plan: PlannedRun) -> None:
        with self._meter.run(plan.framework, run_id=plan.run_id) as run:
            for number, calls in enumerate(plan.steps, start=1):
                with run.step(str(number)) as step, self._framework(plan, step.env()) as do_step:
                    do_step(calls)

    def _with_times(self, plan: PlannedRun) -> None:
        began_us = self._clock.now_us()
        steps = []
        with self._framework(plan, self._meter.env()) as do_step:
            for number, calls in enumerate(plan.steps, start=1):
                start_us = self._clock.now_us()
                do_step(calls)
                end_us = self._clock.now_us()
                steps.append(
                    {
                        "step": number,
                        "duration_seconds": (end_us - start_us) / 1e6,
                        "start_timestamp": start_us // 1_000_000,
                        "end_timestamp": end_us // 1_000_000,
                        "hitl_count": 0,
                        "retry_count": 0,
                        "success": True,
                    }
                )
                time.sleep(BETWEEN_STEPS_S)
        folder = self._folder / plan.framework / plan.run_id
        folder.mkdir(parents=True)
        metrics = {
            "run_id": plan.run_id,
            "model": "gpt-4o-mini",
            "start_timestamp": utc(began_us).isoformat(),
            "end_timestamp": utc(self._clock.now_us()).isoformat(),
            "steps": steps,
        }
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")

    @contextmanager
    def _framework(
        self, plan: PlannedRun, environment: dict[str, str]
    ) -> Iterator[Callable[[tuple[tuple[str, str], ...]], None]]:
        """A framework's process; what it is given makes it do a step and waits for its end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "submeter.cli.sample_framework"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "OPENAI_API_KEY": self._secrets[plan.framework]},
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None

            def do_step(calls: tuple[tuple[str, str], ...]) -> None:
                process.stdin.write(json.dumps({"calls": calls}) + "\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                if not process.stdout.readline():  # type: ignore[union-attr]
                    raise RuntimeError(f"{plan.framework}/{plan.run_id} ended in the middle of a step")

            yield do_step
            process.stdin.close()

    def _mark(self, run: str, step: str, edge: str) -> None:
        """Mark a step as an orchestrator in any language would: one small POST."""
        proxy = urlsplit(self._meter.url)
        connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port, timeout=30)
        connection.request("POST", "/_submeter/step", json.dumps({"run": run, "step": step, "edge": edge}))
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise RuntimeError(f"the proxy answered {status} to a step mark")
