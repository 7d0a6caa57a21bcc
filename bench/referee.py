"""Have the referee judge very many seeded worlds, spread over processes, and print what it saw.

    .venv/bin/python bench/referee.py --seeds 1000000 --jobs 2

Prints the table of true cause against verdict, the false verdicts with their seeds (there should be none), how the
gates and the border form differ, and how often clean runs are doubted: by distance from the nearest run with an error,
by call rate and by the gap between runs. `--beyond` sets worlds outside the bounds, where false verdicts are counted.
`--ledger` has the whole product judge them, 120 worlds in one ledger: journals, ingest, reads, stored verdicts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from audit_referee import audit_world
from ledger_referee import play
from referee_calls import Bounds
from referee_moment import Judges
from referee_table import Table

BEYOND = {
    "no": Bounds(),
    "late": Bounds(lag=240, shift=20, skew=10.0),
    "signs": Bounds(one_sign=False),
}
CHUNK = 500
IN_ONE_LEDGER = 120


def judge_chunk(work: tuple[int, int, str]) -> Table:
    """What one process sees in the seeds `[start, end)`."""
    start, end, beyond = work
    table, judges = Table(), Judges()
    for seed in range(start, end):
        table.add(seed, audit_world(seed, judges, BEYOND[beyond]))
    return table


def judge_ledger(work: tuple[int, int, str]) -> Table:
    """What one process sees in the seeds `[start, end)`, which are the worlds of one ledger."""
    start, end, _ = work
    return play(start, end - start).judged.table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--beyond", choices=BEYOND, default="no", help="worlds outside the bounds, and how")
    parser.add_argument("--ledger", action="store_true", help="through journal, ledger and audit_runs")
    asked = parser.parse_args()
    if asked.ledger and asked.beyond != "no":
        parser.error("--ledger has no worlds outside the bounds")
    last = asked.first + asked.seeds
    chunk, judge, said_every = (IN_ONE_LEDGER, judge_ledger, 1) if asked.ledger else (CHUNK, judge_chunk, 20)
    work = [(start, min(start + chunk, last), asked.beyond) for start in range(asked.first, last, chunk)]
    whole, begin = Table(), time.monotonic()
    with multiprocessing.Pool(asked.jobs) as pool:
        for number, table in enumerate(pool.imap_unordered(judge, work), start=1):
            whole.merge(table)
            if number % said_every == 0:
                spent = time.monotonic() - begin
                print(
                    f"{whole.worlds} worlds, {whole.worlds / spent:.1f} a second, {len(whole.false)} false",
                    file=sys.stderr,
                    flush=True,
                )
    print(whole.text())
    print(f"\n{whole.worlds} worlds in {time.monotonic() - begin:.0f} s on {asked.jobs} processes")
    return int(bool(whole.false) and asked.beyond == "no")


if __name__ == "__main__":
    raise SystemExit(main())
