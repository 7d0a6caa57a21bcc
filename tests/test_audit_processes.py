"""Audits as real processes: killed between reads, two at once, and what waiting shows on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from metered_world import World, metered_world
from scaled_submeter import scaled_clock

from submeter.data.clock import US_PER_MINUTE
from submeter.sim import Fault, FaultKind

HERE = Path(__file__).resolve().parent
FACTOR = 600
SECONDS_MAX = 60.0
WAITING = (
    r"Processed 1 run: pending 1, errors 0\. "
    r"Waiting (\d+ min \d\d|\d+) s, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, for chatdev/r-1"
)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A run that ended three hours ago by the machine's clock, which is the provider's now."""
    begin_us = time.time_ns() // 1000 - 180 * US_PER_MINUTE
    with metered_world(tmp_path, monkeypatch, now_us=begin_us) as made:
        made.sim.now = time.time
        yield made


def start(world: World, *words: str, begin_us: int | None = None) -> subprocess.Popen[str]:
    """`submeter` in a process of its own; from `begin_us` on by a fast clock, which is then the provider's too."""
    return subprocess.Popen(
        command(world, *words, begin_us=begin_us),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def command(world: World, *words: str, begin_us: int | None = None) -> list[str]:
    if begin_us is None:
        return [sys.executable, "-m", "submeter.cli.main", "--ledger", str(world.ledger), *words]
    clock = scaled_clock(begin_us, FACTOR)
    world.sim.now = lambda: clock.now_us() / 1e6
    program = str(HERE / "scaled_submeter.py")
    return [sys.executable, program, str(begin_us), str(FACTOR), "--ledger", str(world.ledger), *words]


def asked(world: World, endpoint: str) -> int:
    return sum(f"/usage/{endpoint}?" in received.target for received in world.sim.received)


def await_that(what: str, is_so: object) -> None:
    assert callable(is_so)
    until = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def told(world: World, query: str) -> list[dict[str, object]]:
    result = world.run("sql", query, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def take_over_clock(world: World, *, minutes: int) -> None:
    """From here on the time is what the test says: so many minutes after now."""
    world.clock.set_us(time.time_ns() // 1000 + minutes * US_PER_MINUTE)
    world.sim.now = lambda: world.clock.now_us() / 1e6


def test_an_audit_that_is_killed_between_two_reads_is_gone_on_with_from_what_it_had_read(world: World) -> None:
    world.sim.plan.add(Fault(kind=FaultKind.DELAY, path="*/usage/embeddings", seconds=30.0))
    process = start(world, "audit", "chatdev/r-1")
    await_that("the second usage endpoint is asked", lambda: asked(world, "embeddings"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    world.sim.plan.clear()
    take_over_clock(world, minutes=31)
    assert world.run("ledger", "check").exit_code == 0
    reads = told(world, "SELECT usage_endpoint, good FROM usage_reads")
    assert reads == [{"usage_endpoint": "completions", "good": True}]
    assert told(world, "FROM audits") == []
    pending = world.run("runs", "--pending", "--json")
    assert (pending.exit_code, json.loads(pending.stdout)[0]["waiting"]) == (3, "not_final"), "it has begun"
    result = world.run("audit", "--pending")
    assert result.exit_code == 3
    (part,) = told(world, "SELECT detail FROM audits WHERE scope = 'part'")
    detail = part["detail"]
    assert isinstance(detail, dict)
    assert {name: len(read["counted"]) for name, read in detail["reads"].items()} == {
        "completions": 2,
        "embeddings": 0,
        "images": 0,
    }, "what was read before the kill counts, what was not is not made up"
    world.past(30)
    assert world.run("audit", "--pending").stdout.startswith("chatdev/r-1  verified, attempt 2")


def test_two_audits_at_once_lose_no_verdict_and_their_reads_confirm_nothing_together(world: World) -> None:
    world.sim.plan.add(Fault(kind=FaultKind.DELAY, path="*/usage/completions", seconds=0.5))
    processes = [start(world, "audit", "--pending") for _ in range(2)]
    ended = [(process.communicate(timeout=SECONDS_MAX), process.returncode) for process in processes]
    assert [code for _, code in ended] == [3, 3], ended
    assert all("pending (not_confirmed)" in out for (out, _), _ in ended)
    counts = told(world, "SELECT usage_endpoint, count(*) AS reads FROM usage_reads WHERE good GROUP BY ALL ORDER BY 1")
    assert [row["reads"] for row in counts] == [2, 2, 2]
    verdicts = told(world, "SELECT scope, verdict, count(*) AS n FROM audits GROUP BY ALL ORDER BY scope")
    assert [(row["scope"], row["verdict"], row["n"]) for row in verdicts] == [
        ("part", "pending", 2),
        ("run", "pending", 2),
    ]
    assert world.run("ledger", "check").exit_code == 0
    take_over_clock(world, minutes=31)
    assert world.run("audit", "--pending").stdout.startswith("chatdev/r-1  verified, attempt 3")


def test_two_audits_that_wait_together_both_end_verified_by_reads_half_an_hour_apart(world: World) -> None:
    begin_us = time.time_ns() // 1000
    processes = [start(world, "audit", "chatdev/r-1", "--wait", begin_us=begin_us) for _ in range(2)]
    for process in processes:
        out, said = process.communicate(timeout=SECONDS_MAX)
        assert (process.returncode, out.splitlines()[-1:]) == (0, ["Processed 1 run: verified 1, errors 0"]), out + said
        # Where the other one's read came in between, one may have to wait a second time.
        assert 1 <= len(said.splitlines()) <= 2, said
        assert all(re.fullmatch(WAITING, line) for line in said.splitlines()), said
    finals = told(world, "SELECT detail FROM audits WHERE scope = 'part' AND final")
    assert finals
    asked_at = {
        row["read_id"]: row["us"] for row in told(world, "SELECT read_id, epoch_us(asked_at) AS us FROM usage_reads")
    }
    for row in finals:
        detail = row["detail"]
        assert isinstance(detail, dict)
        for read in detail["reads"].values():
            first, second = (asked_at[read_id] for read_id in read["counted"])
            assert isinstance(first, int)
            assert isinstance(second, int)
            assert second - first >= 30 * US_PER_MINUTE


def test_waiting_at_a_terminal_says_for_what_and_until_when_and_goes_away(world: World) -> None:
    screen, terminal = pty.openpty()
    begin_us = time.time_ns() // 1000
    words = command(world, "audit", "chatdev/r-1", "--wait", begin_us=begin_us)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60", "NO_COLOR": "1"}
    with subprocess.Popen(
        words, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True
    ) as process:
        os.close(terminal)
        shown = _shown(screen)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, shown
    assert "\x1b[" in shown
    first, *drawn = ESCAPE.sub("", shown).split("\r\n", 1)
    assert re.fullmatch(WAITING, first), first
    found = re.findall(r" +(?:(\d+) min )?(\d+) s left", "".join(drawn))
    left = [60 * int(minutes or 0) + int(seconds) for minutes, seconds in found]
    assert len(left) > 1, drawn
    assert "━" in "".join(drawn)
    # By the machine's own clock a tenth of a second would have passed.
    assert any(one - next_ > 20 for one, next_ in pairwise(left)), "it counts down by the clock that is waited for"
    assert "\x1b" not in out
    assert out.splitlines()[-1] == "Processed 1 run: verified 1, errors 0"


def _shown(screen: int) -> str:
    """All that comes on a terminal until nobody holds it any more."""
    shown = b""
    until = time.monotonic() + SECONDS_MAX
    while time.monotonic() < until:
        if not select.select([screen], [], [], 0.1)[0]:
            continue
        try:
            piece = os.read(screen, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(screen)
    return shown.decode()


def test_ctrl_c_while_waiting_ends_it_quietly_and_keeps_what_was_read(world: World) -> None:
    process = start(world, "audit", "chatdev/r-1", "--wait")
    assert process.stderr is not None
    assert re.fullmatch(WAITING, process.stderr.readline().strip())
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=SECONDS_MAX)
    # Where a second has passed it may have said the same once more.
    assert (process.returncode, out) == (130, "")
    assert all(re.fullmatch(WAITING, line) for line in said.splitlines())
    assert told(world, "SELECT count(*) AS n FROM audits WHERE scope = 'run'") == [{"n": 1}]
    assert world.run("ledger", "check").exit_code == 0
