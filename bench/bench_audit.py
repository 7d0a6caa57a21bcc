"""What an audit of one day on one key costs, from the ledger file to the verdict, at two sizes in one run.

    python bench/bench_audit.py                       # 10,000 and 50,000 calls
    python bench/bench_audit.py --calls 1000000       # 10,000 and 1,000,000 calls

All calls are of one run, over 1,440 minutes and three models; the simulated provider bills each whole in the minute of
its end. Each size is audited in a process of its own, twice with half an hour between, until both books are equal. Then
it is timed, best of several rounds: `book` is the SQL minute book, `judged` all from the open ledger to a verdict by
stored reads, the reading of HTTP apart; `solved` is the pure part of it, gates and least amount. A plain `GROUP BY`
over the stored rows stands beside them. What a ledger of years costs is in past_runs.py. Ratios carry from machine to
machine, times do not. Peak memory is that of the whole process, less what it had before it audited.

Never here: a proxy, and a real provider.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from submeter.audit import questions
from submeter.audit.audits import audit_runs
from submeter.audit.choice import AuditRequest
from submeter.audit.finding import ChainFinding
from submeter.audit.judge import Judge
from submeter.audit.look import look
from submeter.audit.place_chain import place_chain
from submeter.audit.questions import Asking, asking
from submeter.audit.reads import PageStore
from submeter.audit.reconcile import judge_chain
from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi, UsageRead
from submeter.audit.window import SHIFT_MIN
from submeter.data.call import LabelSource, Operation, Outcome, Result, Start, Usage, UsageSource, settle_line
from submeter.data.clock import US_PER_MINUTE, US_PER_S, FixedClock
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import Ledger, open_file
from submeter.data.paths import reads_folder
from submeter.data.sidecar import Patience
from submeter.data.usage_pages import UsageEndpoint
from submeter.sim import Key, Sim
from submeter.sim.books import Entry
from submeter.sim.counts import Counts

BEGIN_US = 1_795_305_600_000_000
"""A midnight, UTC."""
MINUTES = 1_440
ACTIVE = MINUTES - 2 - SHIFT_MIN
"""Minutes that calls begin and end in, so that the window has 1,440."""
KEY_ID = "key_bench"
RUN = "baes/day"
MODELS = ("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06", "gpt-5-mini-2025-08-07")
SMALL = 10_000
ROUNDS = 5

FILL = """
INSERT INTO readings BY NAME
SELECT
    r.* EXCLUDE (number)
        REPLACE (
            printf('%08x-0000-7000-8000-%012x', 27000000 + copy, r.number) AS call_id,
            r.input_tokens + copy % 97 AS input_tokens,
            r.output_tokens + copy % 13 AS output_tokens
        )
FROM (SELECT *, row_number() OVER () AS number FROM readings) AS r, range($copies) AS c(copy)
ORDER BY started_at
"""
BILL = """
SELECT
    epoch_us(ended_at) // 60000000 AS minute,
    response_model,
    sum(input_tokens),
    sum(cached_input_tokens),
    sum(output_tokens),
    count(*)
FROM readings
GROUP BY ALL
ORDER BY ALL
"""

Answer = TypeVar("Answer")


class TimedUsageApi(UsageApi):
    """A client that knows how long it has read."""

    spent_s = 0.0

    def read(self, endpoint: UsageEndpoint, *, api_key_id: str, window_start: int, window_end: int) -> UsageRead:
        began = time.perf_counter()
        try:
            return super().read(endpoint, api_key_id=api_key_id, window_start=window_start, window_end=window_end)
        finally:
            self.spent_s += time.perf_counter() - began


def best(act: Callable[[], Answer]) -> tuple[float, Answer]:
    """Seconds of the fastest round, and what the last one gave."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = act()
        times.append(time.perf_counter() - began)
    return min(times), answer


def write_day(path: Path, calls: int) -> None:
    """One run of so many calls, evenly over the day; a part of them by way of the journal, the rest as copies."""
    clock = FixedClock(BEGIN_US)
    with Journal.open(path, mode="proxy", clock=clock) as journal:
        journal.begin(upstream="https://api.openai.com")
        journal.append("key", {"key_fingerprint": "fp-bench", "framework": "baes", "api_key_id": KEY_ID})
        _mark(journal, clock, "begin")
        written = min(calls, SMALL)
        for number in range(written):
            clock.set_us(BEGIN_US + number * ACTIVE * US_PER_MINUTE // written)
            _call(journal, clock, number)
        clock.set_us(BEGIN_US + ACTIVE * US_PER_MINUTE - US_PER_S)
        _mark(journal, clock, "end")
        journal.sync()
    ledger = Ledger(path, clock=clock)
    ledger.ingest()
    if calls > written:
        with open_file(path, Patience(0), read_only=False) as connection:
            connection.rows(FILL, {"copies": round(calls / written) - 1})


def _mark(journal: Journal, clock: FixedClock, edge: str) -> None:
    run = {"framework": "baes", "run_id": "day", "edge": edge, "by": "bench", "marked_at": clock.now_us()}
    journal.append("run", run)


def _call(journal: Journal, clock: FixedClock, number: int) -> None:
    begun_us = clock.now_us()
    ended_us = min(begun_us + (1 + number % 37) * US_PER_S, BEGIN_US + ACTIVE * US_PER_MINUTE - US_PER_S)
    start = Start(
        call_id=new_call_id(begun_us),
        started_at=begun_us,
        framework="baes",
        key_fingerprint="fp-bench",
        api_key_id=KEY_ID,
        run_id="day",
        step=str(number * 6 // SMALL),
        label_source=LabelSource.URL,
        method="POST",
        path="/v1/chat/completions",
        endpoint="chat/completions",
        usage_endpoint="completions",
        operation=Operation.CREATE,
        retry_count=0,
        organization=None,
        project=None,
        upstream="https://api.openai.com",
    )
    result = Result(
        outcome=Outcome.METERED,
        ended_at=ended_us,
        first_byte_at=ended_us - 1000,
        server_date=ended_us // US_PER_S * US_PER_S,
        status_code=200,
        request_model=MODELS[number % 3],
        response_model=MODELS[number % 3],
        usage_counts=Usage(
            input_tokens=900 + number % 701, cached_input_tokens=number % 5 * 128, output_tokens=20 + number % 83
        ),
        usage_source=UsageSource.REPORTED,
    )
    journal.append("settle", settle_line(start, result))


def bill_day(path: Path, sim: Sim) -> None:
    """Let the provider bill what the ledger has, a sum for each minute and model."""
    with open_file(path, Patience(0), read_only=True) as connection:
        rows = connection.rows(BILL)
    for minute, model, given, cached, written, requests in rows:
        counts = Counts(
            input_text=int(given - cached), cached_text=int(cached), output_text=int(written), requests=int(requests)
        )
        _post(sim, minute * 60 + 30, model, counts)


def _post(sim: Sim, ended_s: float, model: str, counts: Counts) -> None:
    entry = sim.books.open(
        lambda number: Entry(
            number=number,
            api_key_id=KEY_ID,
            key_secret_end="0000",
            project_id="proj_sim",
            user_id="user-sim",
            usage_endpoint="completions",
            model=model,
            request_model=model,
            served_model=model,
            batch=False,
            service_tier="default",
            counts=counts,
            started_at=ended_s,
            request_id=f"req_{number}",
        )
    )
    sim.books.complete(entry.number, ended_s)


def peak_kb() -> int:
    """Most memory this process ever had. `ru_maxrss` starts with what the parent had, so it is the second choice."""
    try:
        told = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(path: Path, usage_api_url: str, admin_key: str) -> dict[str, float | int | str]:
    """Audit the day twice, then time what its verdict takes."""
    before_kb = peak_kb()
    clock = FixedClock(BEGIN_US + (MINUTES + 65) * US_PER_MINUTE)
    settings = AuditSettings(usage_api_url=usage_api_url, admin_key=admin_key)
    ledger = Ledger(path, clock=clock)
    for _ in range(2):
        client = TimedUsageApi(settings, clock=clock)
        with client, Journal.open(path, mode="audit", clock=clock) as journal:
            began = time.perf_counter()
            report = audit_runs(
                ledger,
                request=AuditRequest(runs=(RUN,)),
                settings=settings,
                client=client,
                clock=clock,
                journal=journal,
            )
            command_s = time.perf_counter() - began
            http_s = client.spent_s
        clock.sleep(30 * 60)
    with asking(ledger) as asked:
        figures = _timed(asked, settings, PageStore(reads_folder(path)), clock)
    (line,) = report.runs
    return {
        **figures,
        "verdict": line.verdict,
        "command_s": command_s,
        "http_s": http_s,
        "before_mb": before_kb / 1024,
        "peak_mb": peak_kb() / 1024,
    }


def _timed(asked: Asking, settings: AuditSettings, store: PageStore, clock: FixedClock) -> dict[str, float | int | str]:
    def judged() -> list[ChainFinding]:
        again = Asking(asked.connection)
        seen = look(again, now_us=clock.now_us(), shift_min=SHIFT_MIN, configured={})
        judge = Judge(again, seen, store=store, settings=settings)
        return [judge.chain(KEY_ID, chain) for chain in seen.keys[KEY_ID].chains]

    judged_s, found = best(judged)
    book_s, book = best(lambda: questions.book(asked, [KEY_ID], shift_min=SHIFT_MIN))
    solved_s, _ = best(lambda: [judge_chain(each.chain) for each in found])
    placing_s, placed = best(lambda: ", ".join(_place(each) for each in found))
    return {
        "calls": sum(row.calls for row in book[KEY_ID]),
        "minutes": sum(each.chain.window.end - each.chain.window.start for each in found),
        "buckets": sum(len(minutes.bill) for each in found for minutes in each.minutes.values()),
        "rows": sum(len(each.chain.rows) for each in found),
        "judged_s": judged_s,
        "book_s": book_s,
        "solved_s": solved_s,
        "placing_s": placing_s,
        "placed": placed,
    }


def _place(found: ChainFinding) -> str:
    placed = place_chain(found.solved, shift_min=SHIFT_MIN, now_s=time.monotonic)
    return "not searched" if placed is None else str(placed.outcome)


def plain_s(path: Path) -> float:
    """Seconds of the plain sum over the same rows."""
    with open_file(path, Patience(0), read_only=True) as connection:
        return best(lambda: connection.rows(BILL))[0]


def audited(folder: Path, calls: int) -> dict[str, float]:
    """Prepare, audit and print one size."""
    folder.mkdir()
    path = folder / "submeter.duckdb"
    write_day(path, calls)
    ended_s = BEGIN_US / US_PER_S + (MINUTES + 300) * 60
    with Sim(now=lambda: ended_s, keys=[Key(secret="sk-bench", api_key_id=KEY_ID)], late_share=0.0) as sim:
        bill_day(path, sim)
        words = [sys.executable, __file__, "--measure", str(path), "--usage-api", sim.base_url]
        ended = subprocess.run(words, input=sim.admin_key, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)
    found = json.loads(ended.stdout)
    plain = plain_s(path)
    print(
        f"{found['calls']:,} calls x {found['minutes']:,} minutes, {found['buckets']:,} bucket rows: {found['verdict']}"
    )
    judged = found["judged_s"] - found["placing_s"]
    print(f"  open ledger to verdict, by stored reads   {judged:9.3f} s   {judged / plain:6.1f} x a plain GROUP BY")
    print(f"    the SQL book, {found['rows']:>9,} rows            {found['book_s']:9.3f} s")
    print(f"    gates and least amount, pure            {found['solved_s']:9.3f} s")
    print(f"  the search for a placement                {found['placing_s']:9.3f} s   {found['placed']}")
    print(f"  one audit command                         {found['command_s']:9.3f} s   HTTP {found['http_s']:.3f} s")
    print(
        f"  peak memory                               {found['peak_mb']:9.0f} MB  "
        f"{found['peak_mb'] - found['before_mb']:.0f} MB more than before it"
    )
    return {"calls": found["calls"], "judged": judged, "plain": plain, "peak": found["peak_mb"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000, help="calls of the larger day; a multiple of 10,000")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--usage-api", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure, given.usage_api, sys.stdin.read().strip())))
        return
    with tempfile.TemporaryDirectory(prefix="submeter-bench-") as folder:
        small = audited(Path(folder) / "small", SMALL)
        large = audited(Path(folder) / "large", given.calls)
    print(
        f"growth: {large['calls'] / small['calls']:.0f} x the calls, {large['judged'] / small['judged']:.1f} x the "
        f"time (a plain GROUP BY {large['plain'] / small['plain']:.1f} x), {large['peak'] / small['peak']:.1f} x the "
        "peak memory"
    )


if __name__ == "__main__":
    main()
