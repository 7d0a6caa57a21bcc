"""What the ledger costs: carrying lines in, and asking about one run among many, in one run on one machine.

    python bench/bench_ledger.py [--rows 1000000] [--lines 50000]

Carrying is set against DuckDB's own reading of the same bytes (`read_json`, same columns), asking against a plain
`GROUP BY step` on the stored table, in which 64 runs go on at a time and their ids rise with time. Ratios carry from
machine to machine, times do not. The smallest of several rounds is taken. What three questions of one run take of the
CPU is told beside what DuckDB spends on planning them, one thread alone: neither grows with the ledger.

Never here: a proxy. What a call costs before it is a line in a journal is measured elsewhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from submeter.data.call import Operation, Outcome, Result, Start, Usage, UsageSource, settle_line, start_line
from submeter.data.clock import FixedClock
from submeter.data.columns import LINES, Kind
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import DuckConnection, Ledger, open_file
from submeter.data.questions import read_sql
from submeter.data.replay import Reader, read_all
from submeter.data.sidecar import Patience
from submeter.data.staging import stage_lines

NOON_US = 1_795_348_800_000_000
RUNS = 64
STEPS = 6
USAGE = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def write_calls(journal: Journal, clock: FixedClock, calls: int) -> None:
    """So many calls of 64 interleaved runs, a start and a settle line each."""
    for number in range(calls):
        run = number % RUNS
        start = Start(
            call_id=new_call_id(clock.now_us()),
            started_at=clock.now_us(),
            framework=("baes", "chatdev", "ghspec")[run % 3],
            key_fingerprint="0123456789abcdef",
            api_key_id="key_bench",
            run_id=f"run-{run}",
            step=str(1 + number // RUNS % STEPS),
            label_source=None,
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
        journal.append("start", start_line(start))
        clock.sleep(0.1)
        result = Result(
            outcome=Outcome.METERED,
            ended_at=clock.now_us(),
            status_code=200,
            request_model="gpt-5-mini",
            response_model="gpt-5-mini-2025-08-07",
            response_id=f"chatcmpl-{start.call_id}",
            request_id=f"req_{start.call_id}",
            usage_counts=Usage(input_tokens=1117, output_tokens=46, total_tokens=1163),
            usage=USAGE,
            usage_source=UsageSource.REPORTED,
            request_bytes=1000,
            response_bytes=2000,
            overhead_us=150,
        )
        journal.append("settle", settle_line(start, result))


FILL = """
INSERT INTO readings BY NAME
SELECT
    r.* EXCLUDE (number)
        REPLACE (
            printf('%08x-0000-7000-8000-%012x', 27000000 + copy, r.number) AS call_id,
            r.started_at - INTERVAL 1 DAY * (copy + 1) AS started_at,
            r.ended_at - INTERVAL 1 DAY * (copy + 1) AS ended_at,
            printf('%06d-', 100000 - copy) || r.run_id AS run_id
        )
FROM (SELECT *, row_number() OVER () AS number FROM pattern) AS r, range($low, $high) AS c(copy)
ORDER BY started_at
"""
COPIES_AT_ONCE = 20


def smallest_ms(act: Callable[[], object], rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def ask_and_compare(connection: DuckConnection, title: str, sql: str, plain: str) -> None:
    ours = smallest_ms(lambda: connection.rows(sql))
    theirs = smallest_ms(lambda: connection.rows(plain))
    print(f"{title:<44}{ours:>9.1f} ms{theirs:>9.1f} ms{ours / theirs:>8.1f}")


def planning_ms(connection: DuckConnection, sql: str, parameters: Mapping[str, object], profile: Path) -> float:
    """What DuckDB says it spent on binding, optimizing and the physical plan of one question."""
    for setting in (
        "PRAGMA enable_profiling = 'json'",
        "SET profiling_mode = 'detailed'",
        f"SET profiling_output = '{profile}'",
    ):
        connection.rows(setting)
    connection.rows(sql, parameters)
    connection.rows("PRAGMA disable_profiling")
    told = json.loads(profile.read_text(encoding="utf-8"))
    if "optimizer" in told:  # DuckDB 2 nests its times, 1.5 did not.
        return 1000 * sum(float(told[part]["total_time"]) for part in ("planner", "optimizer", "physical_planner"))
    return 1000 * sum(float(told[part]) for part in ("planner", "all_optimizers", "physical_planner"))


def cpu(ledger: Ledger, one_run: Mapping[str, object], rounds: int = 20) -> None:
    """What the questions of one run take of the CPU, and how much of it is planning."""
    where = "WHERE framework = $framework AND run_id = $run_id"
    print(f"{'one run, one thread: CPU':<44}{'planning':>12}{'total':>12}")
    with ledger.reading() as connection, tempfile.TemporaryDirectory() as folder:
        connection.rows("SET threads = 1")
        for title, sql in (
            ("submeter steps RUN (list_steps)", read_sql("list_steps")),
            ("step_usage", f"SELECT * FROM step_usage {where}"),
            ("run_usage", f"SELECT * FROM run_usage {where}"),
        ):
            spent_s = []
            for _ in range(rounds):
                began_s = time.process_time()
                connection.rows(sql, one_run)
                spent_s.append(time.process_time() - began_s)
            planned = min(planning_ms(connection, sql, one_run, Path(folder) / "profile.json") for _ in range(rounds))
            print(f"{title:<44}{planned:>9.1f} ms{min(spent_s) * 1000:>9.1f} ms")


def carry(folder: Path, clock: FixedClock, calls: int) -> tuple[Ledger, Journal]:
    """Carry a journal in whole, then in windows of 100 rows."""
    path = folder / "submeter.duckdb"
    journal = Journal.open(path, mode="proxy", clock=clock)
    journal.begin(upstream="https://api.openai.com")
    write_calls(journal, clock, calls)
    ledger = Ledger(path, clock=clock)
    began = time.perf_counter()
    ledger.ingest()
    spent_s = time.perf_counter() - began
    survey = Reader(path.with_name(path.name + ".journal")).survey()
    began = time.perf_counter()
    lines = [line for stretch in read_all(survey.journals[0]) for line in stretch.lines]
    decode_s = time.perf_counter() - began
    settled = [("f", line) for line in lines if line.kind is Kind.SETTLE]
    with open_file(path, Patience(0), read_only=False) as connection:
        began = time.perf_counter()
        stage_lines(connection, "bench", LINES[Kind.SETTLE].columns, settled)
        bare_s = time.perf_counter() - began
    print(
        f"carry {calls} calls ({len(lines)} lines): {calls / spent_s:,.0f} rows/s; {spent_s / bare_s:.1f} x read_json"
    )
    print(f"  of it decoding and checking every line: {decode_s / spent_s:.0%}")
    windows = []
    for _ in range(10):
        write_calls(journal, clock, 100)
        began = time.perf_counter()
        ledger.ingest()
        windows.append(time.perf_counter() - began)
    print(
        f"a window of 100 rows, {calls} in the ledger: {min(windows) * 1000:.0f} ms (worst {max(windows) * 1000:.0f})"
    )
    print(f"nothing to do: {smallest_ms(ledger.ingest):.2f} ms")
    return ledger, journal


def turns(ledger: Ledger, journal: Journal, clock: FixedClock) -> None:
    """What one turn of a proxy's ingest takes of its process's CPU (user and system), by how many calls are new."""
    with ledger.reading() as connection:
        have = connection.rows("SELECT count(*) FROM readings")[0][0]
    print(f"one turn into a ledger of {have} rows: CPU")
    for calls, rounds in ((1, 9), (100, 9), (1000, 5), (10_000, 3)):
        spent_s = []
        for _ in range(rounds):
            write_calls(journal, clock, calls)
            began_s = time.process_time()
            ledger.ingest()
            spent_s.append(time.process_time() - began_s)
        middle_s = sorted(spent_s)[rounds // 2]
        print(
            f"{calls:>8} calls: {middle_s * 1000:>7.1f} ms (least {min(spent_s) * 1000:.1f}), {calls / middle_s:,.0f}/s"
        )


def fill(ledger: Ledger, rows: int) -> None:
    """Fill the ledger up behind the journals' back, a stretch of days at a time."""
    with open_file(ledger.path, Patience(0), read_only=False) as connection:
        have = connection.rows("SELECT count(*) FROM readings")[0][0]
        connection.rows("CREATE TEMP TABLE pattern AS SELECT * FROM readings")
        copies = max(1, round(rows / have) - 1)
        for high in range(copies, 0, -COPIES_AT_ONCE):
            connection.rows(FILL, {"low": max(0, high - COPIES_AT_ONCE), "high": high})


def ask(ledger: Ledger) -> None:
    """Ask about one run among many."""
    with ledger.reading() as connection:
        have = connection.rows("SELECT count(*) FROM readings")[0][0]
    size = ledger.path.stat().st_size
    print(f"{have} rows, {size / have:.0f} bytes a row")
    print(f"{'':<44}{'view':>12}{'plain table':>12}{'ratio':>8}")
    with ledger.reading() as connection:
        run_id = connection.rows("SELECT run_id FROM readings WHERE framework = 'chatdev' LIMIT 1 OFFSET 1000")[0][0]
        where = f"WHERE framework = 'chatdev' AND run_id = '{run_id}'"
        sums = "count(*), sum(input_tokens), sum(output_tokens)"
        ask_and_compare(
            connection,
            "steps of one run",
            f"SELECT step, calls, unknown, input_tokens, output_tokens FROM step_usage {where}",
            f"SELECT step, {sums} FROM readings {where} GROUP BY step",
        )
        one_run = {"framework": "chatdev", "run_id": run_id}
        took_ms = smallest_ms(lambda: connection.rows(read_sql("list_steps"), one_run))
        print(f"{'submeter steps RUN (list_steps)':<44}{took_ms:>9.1f} ms")
        ask_and_compare(
            connection,
            "one run's sum",
            f"SELECT calls, input_tokens FROM run_usage {where}",
            f"SELECT {sums} FROM readings {where}",
        )
        ask_and_compare(
            connection,
            "the whole ledger by model",
            read_sql("by_model").replace("$framework", "NULL").replace("$run_id", "NULL"),
            f"SELECT response_model, {sums} FROM readings GROUP BY response_model",
        )
        ask_and_compare(
            connection,
            "every run",
            "SELECT framework, run_id, calls, input_tokens FROM run_usage",
            f"SELECT framework, run_id, {sums} FROM readings GROUP BY framework, run_id",
        )
        ask_and_compare(connection, "episodes of every run", "SELECT name, started_at, ended_at FROM runs", "SELECT 1")
    cpu(ledger, one_run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows in the ledger for the questions")
    parser.add_argument("--lines", type=int, default=50_000, help="calls to carry in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="submeter-bench-") as folder:
        clock = FixedClock(NOON_US)
        ledger, journal = carry(Path(folder), clock, given.lines)
        turns(ledger, journal, clock)
        fill(ledger, given.rows)
        turns(ledger, journal, clock)
        ask(ledger)


if __name__ == "__main__":
    main()
