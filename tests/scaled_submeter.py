"""A program: `submeter` by a clock that runs fast, the same in every process that is given the same begin.

    python scaled_submeter.py BEGIN_US FACTOR WORDS...

BEGIN_US: when, by the machine's clock, both clocks showed the same. No rule waits less; only the wall is faster.
"""

from __future__ import annotations

import sys
import time

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.clock import ScaledClock


def scaled_clock(begin_us: int, factor: float) -> ScaledClock:
    """The clock of all who were given this begin."""
    passed_us = time.time_ns() // 1000 - begin_us
    return ScaledClock(factor, start_us=begin_us + int(passed_us * factor))


if __name__ == "__main__":
    begin_us, factor, *words = sys.argv[1:]
    cli(words, obj=Invocation(clock=scaled_clock(int(begin_us), float(factor))))
