"""What a look costs at a ledger of years: CPU of whole commands beside so many past runs and stored reads.

    python bench/past_runs.py                          # 100 and 1,000 past runs
    python bench/past_runs.py --runs 100 1000 5000 10000

Runs of three frameworks follow each other, 10 minutes of 20 calls and 20 minutes of nothing; each was read ten times
before its verdict, and all verdicts are final. Then whole commands are started, and the CPU of each is taken by the
kernel's account, the least of three: `runs --pending`, `audit --pending` with nothing due, and `audit --pending` with
one new run. `submeter --version` stands beside them: what starting costs. Ratios carry from machine to machine, times
do not.

Never here: a proxy, and a real provider.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from submeter.audit.audits import audit_runs
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi
from submeter.data.call import LabelSource, Operation, Outcome, Result, Start, Usage, UsageSource, settle_line
from submeter.data.clock import US_PER_MINUTE, US_PER_S, FixedClock, SystemClock
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import Ledger, open_file
from submeter.data.paths import reads_folder
from submeter.data.sidecar import Patience
from submeter.sim import Key, Sim
from submeter.sim.books import Entry
from submeter.sim.counts import Counts

FRAMEWORKS = ("baes", "chatdev", "ghspec")
MODEL = "gpt-4o-mini-2024-07-18"
CALLS = 20
EVERY_MIN = 30
READS_BEFORE = 9
"""Reads of each run before the two that its verdict rests on, at one usage endpoint; with these, ten and more."""
ROUNDS = 3
PAGE = b'{"object":"page","data":[],"has_more":false,"next_page":null}'

FILL_READS = """
INSERT INTO usage_reads BY NAME
SELECT
    printf('past-%d-%d', r.number, j.nth) AS read_id,
    'completions' AS usage_endpoint,
    [r.api_key_id] AS api_key_ids,
    make_timestamp(r.from_us) AS window_start,
    make_timestamp(r.to_us) AS window_end,
    make_timestamp($asked_us + j.nth * 60000000) AS asked_at,
    true AS good,
    200 AS status_code,
    [$page] AS pages,
    0 AS holes,
    0 AS rows,
    'bench' AS file_id,
    r.number * 100 + j.nth AS line_offset,
    make_timestamp($asked_us + j.nth * 60000000) AS "at"
FROM (
    SELECT unnest($numbers) AS number, unnest($keys) AS api_key_id, unnest($froms) AS from_us, unnest($tos) AS to_us
) AS r, range($reads) AS j(nth)
"""
FILL_BUCKETS = """
INSERT INTO usage_buckets BY NAME
SELECT
    u.read_id,
    'completions' AS usage_endpoint,
    date_trunc('minute', c.ended_at) AS minute,
    c.api_key_id,
    c.response_model AS model,
    false AS batch,
    'default' AS service_tier,
    CAST(sum(c.input_tokens) AS BIGINT) AS input_tokens,
    CAST(sum(c.cached_input_tokens) AS BIGINT) AS input_cached_tokens,
    CAST(sum(c.output_tokens) AS BIGINT) AS output_tokens,
    count(*) AS num_model_requests
FROM usage_reads AS u
JOIN readings AS c
    ON c.api_key_id = u.api_key_ids[1] AND c.ended_at >= u.window_start AND c.ended_at < u.window_end
WHERE u.file_id = 'bench'
GROUP BY u.read_id, date_trunc('minute', c.ended_at), c.api_key_id, c.response_model
"""


def write_runs(path: Path, sim: Sim, runs: int, ends_us: int) -> list[tuple[int, str, int, int]]:
    """So many past runs by way of the journal, billed by the simulator; number, key id and window of each."""
    clock = FixedClock(ends_us - (runs + 1) * EVERY_MIN * US_PER_MINUTE)
    told = []
    with Journal.open(path, mode="proxy", clock=clock) as journal:
        journal.begin(upstream="https://api.openai.com")
        for name in FRAMEWORKS:
            key = {"key_fingerprint": f"fp-{name}", "framework": name, "api_key_id": f"key_{name}"}
            journal.append("key", key)
        for number in range(runs):
            begin_us = clock.now_us() // US_PER_MINUTE * US_PER_MINUTE
            write_run(journal, clock, sim, number, begin_us)
            name = FRAMEWORKS[number % len(FRAMEWORKS)]
            from_us, to_us = begin_us - US_PER_MINUTE, begin_us + 17 * US_PER_MINUTE
            told.append((number, f"key_{name}", from_us, to_us))
            clock.set_us(begin_us + EVERY_MIN * US_PER_MINUTE)
    return told


def write_run(journal: Journal, clock: FixedClock, sim: Sim, number: int, begin_us: int) -> None:
    """One run of ten minutes."""
    name = FRAMEWORKS[number % len(FRAMEWORKS)]
    clock.set_us(max(begin_us, clock.now_us()))
    mark = {"framework": name, "run_id": f"r-{number}", "by": "bench"}
    journal.append("run", {**mark, "edge": "begin", "marked_at": clock.now_us()})
    for nth in range(CALLS):
        started_us = begin_us + nth * 29 * US_PER_S
        ended_us = started_us + 7 * US_PER_S
        clock.set_us(max(ended_us, clock.now_us()))
        start = Start(
            call_id=new_call_id(started_us),
            started_at=started_us,
            framework=name,
            key_fingerprint=f"fp-{name}",
            api_key_id=f"key_{name}",
            run_id=f"r-{number}",
            step="1",
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
        given, written = 900 + (number * 7 + nth) % 701, 20 + nth
        result = Result(
            outcome=Outcome.METERED,
            ended_at=ended_us,
            first_byte_at=ended_us - 1000,
            server_date=ended_us // US_PER_S * US_PER_S,
            status_code=200,
            request_model=MODEL,
            response_model=MODEL,
            usage_counts=Usage(input_tokens=given, cached_input_tokens=0, output_tokens=written),
            usage_source=UsageSource.REPORTED,
        )
        journal.append("settle", settle_line(start, result))
        post(sim, f"key_{name}", ended_us / US_PER_S, Counts(input_text=given, output_text=written, requests=1))
    journal.append("run", {**mark, "edge": "end", "marked_at": clock.now_us()})


def post(sim: Sim, api_key_id: str, ended_s: float, counts: Counts) -> None:
    """One call into the simulator's books."""
    entry = sim.books.open(
        lambda number: Entry(
            number=number,
            api_key_id=api_key_id,
            key_secret_end="0000",
            project_id="proj_sim",
            user_id="user-sim",
            usage_endpoint="completions",
            model=MODEL,
            request_model=MODEL,
            served_model=MODEL,
            batch=False,
            service_tier="default",
            counts=counts,
            started_at=ended_s,
            request_id=f"req_{number}",
        )
    )
    sim.books.complete(entry.number, ended_s)


def fill_reads(path: Path, told: list[tuple[int, str, int, int]], asked_us: int) -> int:
    """Earlier reads of every run, straight into the tables; how many reads the ledger has then."""
    digest = hashlib.sha256(PAGE).hexdigest()
    PageStore(reads_folder(path)).keep([PAGE])
    with open_file(path, Patience(0), read_only=False) as connection:
        columns = {
            "numbers": [each[0] for each in told],
            "keys": [each[1] for each in told],
            "froms": [each[2] for each in told],
            "tos": [each[3] for each in told],
        }
        connection.rows(FILL_READS, {**columns, "reads": READS_BEFORE, "page": digest, "asked_us": asked_us})
        connection.rows(FILL_BUCKETS)
        return int(connection.rows("SELECT count(*) FROM usage_reads")[0][0])


def audit(path: Path, sim: Sim, clock: FixedClock) -> dict[str, int]:
    """One audit of all that is pending, whatever its age; how many runs have which verdict."""
    settings = AuditSettings(usage_api_url=sim.base_url, admin_key=sim.admin_key)
    with UsageApi(settings, clock=clock) as client, Journal.open(path, mode="audit", clock=clock) as journal:
        report = audit_runs(
            Ledger(path, clock=clock),
            request=AuditRequest(pending=True, max_age_min=10**7),
            settings=settings,
            client=client,
            clock=clock,
            journal=journal,
        )
    return {str(verdict): number for verdict, number in report.counts.items()}


def cpu_s(words: list[str], environment: dict[str, str], *, codes: tuple[int, ...]) -> float:
    """Least CPU of a command over some rounds, of itself and all it starts."""
    found = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode not in codes:
            sys.exit(f"{' '.join(words)}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def measured(folder: Path, runs: int) -> dict[str, float]:
    """Make one ledger, bring every run to its verdict, and take what the commands cost."""
    path = folder / "submeter.duckdb"
    now_us = SystemClock().now_us()
    keys = [Key(secret=f"sk-{name}", api_key_id=f"key_{name}", name=name) for name in FRAMEWORKS]
    with Sim(now=lambda: now_us / US_PER_S, keys=keys, late_share=0.0) as sim:
        told = write_runs(path, sim, runs, now_us - 180 * US_PER_MINUTE)
        clock = FixedClock(now_us - 60 * US_PER_MINUTE)
        Ledger(path, clock=clock).ingest()
        fill_reads(path, told, now_us - 150 * US_PER_MINUTE)
        audit(path, sim, clock)
        clock.set_us(now_us - 29 * US_PER_MINUTE)
        verdicts = audit(path, sim, clock)
        with open_file(path, Patience(0), read_only=True) as connection:
            reads, calls = connection.rows("SELECT (SELECT count(*) FROM usage_reads), count(*) FROM readings")[0]
        left_out = ("OPENAI_", "PYTHONDONTWRITEBYTECODE")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(left_out)},
            # As installed: the first of the rounds compiles the modules, the others find them compiled.
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
            "OPENAI_ADMIN_KEY": sim.admin_key,
            "SUBMETER_USAGE_API_URL": sim.base_url,
            "SUBMETER_LEDGER": str(path),
        }
        command = str(Path(sys.executable).with_name("submeter"))
        start_s = cpu_s([command, "--version"], environment, codes=(0,))
        pending_s = cpu_s([command, "runs", "--pending"], environment, codes=(0, 3))
        nothing_s = cpu_s([command, "audit", "--pending"], environment, codes=(0, 3))
        clock.set_us(now_us - 90 * US_PER_MINUTE)
        with Journal.open(path, mode="proxy", clock=clock) as journal:
            journal.begin(upstream="https://api.openai.com")
            write_run(journal, clock, sim, runs, now_us - 90 * US_PER_MINUTE)
        one_new_s = cpu_s([command, "audit", f"{FRAMEWORKS[runs % 3]}/r-{runs}"], environment, codes=(3,))
    print(f"{runs:,} past runs, {calls:,} calls, {reads:,} stored reads: {verdicts}")
    print(f"  submeter --version                     {start_s:8.2f} s of CPU")
    print(f"  submeter runs --pending                {pending_s:8.2f} s")
    print(f"  submeter audit --pending, nothing due  {nothing_s:8.2f} s")
    print(f"  submeter audit of one new run          {one_new_s:8.2f} s")
    return {"runs": runs, "pending": pending_s - start_s, "nothing": nothing_s - start_s, "new": one_new_s - start_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1_000], help="past runs of each ledger")
    given = parser.parse_args()
    found = []
    for runs in given.runs:
        with tempfile.TemporaryDirectory(prefix="submeter-bench-") as folder:
            found.append(measured(Path(folder), runs))
    for small, large in pairwise(found):
        print(
            f"growth from {small['runs']:,.0f} to {large['runs']:,.0f} runs ({large['runs'] / small['runs']:.1f} x), "
            f"above what starting costs: runs --pending {large['pending'] / small['pending']:.1f} x, audit --pending "
            f"{large['nothing'] / small['nothing']:.1f} x, one new run {large['new'] / small['new']:.1f} x"
        )


if __name__ == "__main__":
    main()
