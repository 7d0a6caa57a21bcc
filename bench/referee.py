"""Have the referee judge very many seeded worlds, spread over processes, and print what it saw.

    .venv/bin/python bench/referee.py --seeds 1000000 --jobs 2

Prints the table of true cause against verdict, the false verdicts with their seeds (there should be none), how the
gates and the border form differ, and how often clean runs are doubted: by distance from the nearest run with an error,
by call rate and by the gap between runs. `--beyond` sets worlds outside the bounds, where false verdicts are counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from audit_referee import audit_world
from referee_calls import Bounds
from referee_moment import Judges
from referee_table import Table

BEYOND = {
    "no": Bounds(),
    "late": Bounds(lag=240, shift=20, skew=10.0),
    "signs": Bounds(one_sign=False),
}
CHUNK = 500


def judge_chunk(work: tuple[int, int, str]) -> Table:
    """What one process sees in the seeds `[start, end)`."""
    start, end, beyond = work
    table, judges = Table(), Judges()
    for seed in range(start, end):
        table.add(seed, audit_world(seed, judges, BEYOND[beyond]))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--beyond", choices=BEYOND, default="no", help="worlds outside the bounds, and how")
    asked = parser.parse_args()
    last = asked.first + asked.seeds
    work = [(start, min(start + CHUNK, last), asked.beyond) for start in range(asked.first, last, CHUNK)]
    whole, begin = Table(), time.monotonic()
    with multiprocessing.Pool(asked.jobs) as pool:
        for number, table in enumerate(pool.imap_unordered(judge_chunk, work), start=1):
            whole.merge(table)
            if number % 20 == 0:
                spent = time.monotonic() - begin
                print(
                    f"{whole.worlds} worlds, {whole.worlds / spent:.0f} a second, {len(whole.false)} false",
                    file=sys.stderr,
                    flush=True,
                )
    print(whole.text())
    print(f"\n{whole.worlds} worlds in {time.monotonic() - begin:.0f} s on {asked.jobs} processes")
    return int(bool(whole.false) and asked.beyond == "no")


if __name__ == "__main__":
    raise SystemExit(main())
