"""The audits' page's schedules run: its crontab line by `sh -c` with hardly a variable, its workflows step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from metered_world import KEY_ID, SECRET, metered_world
from ruamel.yaml import YAML
from scaled_submeter import scaled_clock

from submeter.data.clock import US_PER_MINUTE
from submeter.sim import Key, Sim

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent / "docs" / "audits.md").read_text()
SUBMETER = Path(sys.executable).parent / "submeter"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
FACTOR = 600
RUN_PY = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode(),
    {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
)
urllib.request.urlopen(request).read()
"""


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def workflows() -> dict[str, dict[str, Any]]:
    """The page's workflows by name, read by a real parser. YAML 1.1, as GitHub's, would call `on` a boolean."""
    documents = [YAML(typ="safe").load(text) for text in blocks("yaml")]
    return {document["name"]: document for document in documents}


def test_the_crontab_line_finds_ledger_and_keys_in_an_empty_environment_and_writes_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = blocks("crontab")
    *when, command = line.strip().split(" ", 5)
    assert len(when) == 5
    assert "%" not in command, "cron would end the command there"
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    program = tmp_path / ".local" / "bin" / "submeter"
    program.parent.mkdir(parents=True)
    program.symlink_to(SUBMETER)
    three_hours_ago_us = time.time_ns() // 1000 - 180 * US_PER_MINUTE
    with metered_world(experiment, monkeypatch, ledger_name="submeter.duckdb", now_us=three_hours_ago_us) as world:
        world.sim.now = time.time
        named = [
            f"OPENAI_ADMIN_KEY={world.sim.admin_key}",
            f"OPENAI_API_KEY_CHATDEV={SECRET}",
            f"OPENAI_API_KEY_CHATDEV_ID={KEY_ID}",
            f"SUBMETER_USAGE_API_URL={world.sim.base_url}",
        ]
        (experiment / ".env").write_text("\n".join([*named, "RECONCILIATION_VERIFICATION_INTERVAL_MIN=0"]) + "\n")
        ticks = [_tick(command, tmp_path) for _ in range(3)]
        (experiment / ".env").write_text("\n".join(named) + "\n")
        ticks += [_tick(command, tmp_path) for _ in range(2)]
    assert [each.returncode for each in ticks] == [3] * 5, "what was read without the waiting times proves nothing"
    assert "".join(each.stdout + each.stderr for each in ticks) == ""
    log = (experiment / "audit.log").read_text()
    test = r" \(timing: test: 2 reads, 0 min apart, .*\)"
    why = "why: too few good reads agree yet, or they lie too close together"
    assert re.fullmatch(
        rf"{STAMP}  chatdev/r-1  pending \(not_confirmed\), attempt 1; next read .* UTC; {why}\n"
        rf"{STAMP}  Processed 1 run: pending 1, errors 0{test}\n"
        rf"{STAMP}  chatdev/r-1  verified, attempt 2\n"
        rf"{STAMP}  Processed 1 run: verified 1, errors 0{test}\n"
        rf"{STAMP}  1 run has a final verdict: 1 verified\n"
        rf"{STAMP}  Every run has a verdict, but of timing: test, which proves nothing{test}\n"
        rf"{STAMP}  chatdev/r-1  pending \(not_confirmed\), attempt 3; next read .* UTC; {why}\n"
        rf"{STAMP}  Processed 1 run: pending 1, errors 0\n"
        rf"{STAMP}  1 run has no final verdict and is not due yet, next at .* UTC\n"
        rf"{STAMP}  Nothing is due now; 1 of 1 runs have no final verdict\n",
        log,
    ), log
    assert world.sim.admin_key not in log


def _tick(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """As cron does it: `sh -c`, a home, nothing else, no terminal."""
    return subprocess.run(
        ["env", "-i", f"HOME={home}", "sh", "-c", command],
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Runner:
    """A machine of GitHub's, as far as its `run:` steps can tell: a folder, `sh -e`, and the variables of its job."""

    def __init__(self, folder: Path, begin_us: int, **variables: str) -> None:
        folder.mkdir()
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir()
        program = tools / "submeter"
        arguments = f"'{sys.executable}' '{HERE / 'scaled_submeter.py'}' {begin_us} {FACTOR}"
        program.write_text(f'#!/bin/sh\nexec {arguments} "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "SUBMETER"))}
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.variables = {**kept, "PATH": path, "GITHUB_RUN_ID": "77", **variables}

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-e", "-c", step],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @contextmanager
    def proxy(self, upstream: str) -> Iterator[None]:
        """A running proxy of this ledger, which `submeter run` then uses: so its calls go to the simulator."""
        words = ["submeter", "proxy", "--listen", "127.0.0.1:0", "--upstream", upstream, "--json", "--until-eof"]
        program = str(self.folder / "tools" / "submeter")
        process = subprocess.Popen(
            [program, *words[1:]],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline()
            yield
        finally:
            process.stdin.close()
            process.wait(60)
            process.stdout.close()


def steps_of(job: dict[str, Any], variables: dict[str, str]) -> list[dict[str, Any]]:
    """The steps of a job; every variable that it names must be one we have."""
    assert set(job["env"]) == set(variables)
    return [step for step in job["steps"] if step.get("run") != "pipx install submeter"]


def test_the_workflow_with_an_artefact_runs_and_audits_to_a_certificate(tmp_path: Path) -> None:
    jobs = workflows()["experiment"]["jobs"]
    begin_us = time.time_ns() // 1000
    clock = scaled_clock(begin_us, FACTOR)
    with Sim(now=lambda: clock.now_us() / 1e6, keys=[Key(secret=SECRET, api_key_id=KEY_ID)]) as sim:
        keys = {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": KEY_ID}
        _checkout, act, upload = steps_of(jobs["run"], keys)
        first = Runner(tmp_path / "first", begin_us, **keys)
        (first.folder / "run.py").write_text(RUN_PY)
        with first.proxy(sim.url):
            done = first.run(act["run"])
        assert done.returncode == 0, done.stderr
        admin = {"OPENAI_ADMIN_KEY": sim.admin_key}
        download, audit, last = steps_of(jobs["audit"], admin)
        assert (upload["with"], jobs["audit"]["needs"]) == (download["with"], "run")
        second = Runner(tmp_path / "second", begin_us, SUBMETER_USAGE_API_URL=sim.base_url, **admin)
        shutil.copytree(first.folder / upload["with"]["path"], second.folder / download["with"]["path"])
        done = second.run(audit["run"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("chatdev/r-77  verified")
        for path in last["with"]["path"].split():
            assert (second.folder / path).exists()
        verified = second.run("submeter verify certificate.json")
        assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_workflow_on_a_runner_of_one_s_own_takes_cannot_tell_yet_for_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = workflows()["audit"]["jobs"].values()
    assert job["runs-on"] == "self-hosted"
    with metered_world(tmp_path, monkeypatch, now_us=time.time_ns() // 1000 - 180 * US_PER_MINUTE) as world:
        world.sim.now = time.time
        variables = {"OPENAI_ADMIN_KEY": world.sim.admin_key, "SUBMETER_LEDGER": str(world.ledger)}
        (step,) = steps_of(job, variables)
        runner = Runner(tmp_path / "runner", time.time_ns() // 1000, SUBMETER_USAGE_API_URL=world.sim.base_url)
        (runner.folder / "tools" / "submeter").unlink()
        (runner.folder / "tools" / "submeter").symlink_to(SUBMETER)
        runner.variables |= variables
        runner.variables["RECONCILIATION_VERIFICATION_INTERVAL_MIN"] = "0"
        pending = runner.run(step["run"])
        assert (pending.returncode, pending.stdout.count("pending (not_confirmed), attempt 1")) == (0, 1), (
            pending.stdout + pending.stderr
        )
        world.sim.books.correct(0, world.sim.books.entries[0].counts, visible_from=0)
        runner.run(step["run"])
        short = runner.run(step["run"])
        assert (short.returncode, short.stdout.count("short, attempt 3")) == (1, 1), short.stdout + short.stderr
        assert "input_tokens d +" in short.stdout


def test_every_time_of_a_schedule_is_five_fields() -> None:
    documents = workflows()
    assert set(documents) == {"audit", "experiment"}
    for document in documents.values():
        assert set(document) == {"name", "on", "jobs"}
    (tick,) = documents["audit"]["on"]["schedule"]
    assert len(tick["cron"].split()) == 5
