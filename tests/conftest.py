"""What holds for every test: how fast this machine is, and how busy, is none of its results; and which files go first.

The first text of a fresh clone waits for hypothesis to write its table of characters; beside other work that took 13
seconds, and failed a test as slow.

`SUBMETER_TESTS=quick` (`make quick`) tries a tenth of the examples.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("any machine"), max_examples=10)
settings.load_profile("quick" if os.environ.get("SUBMETER_TESTS") == "quick" else "any machine")

for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        # A shell starts what is in the background deaf to Ctrl-C, `nohup` to a hang-up. The tests stay so, but programs
        # that they start would be deaf too; a handler, even one that does nothing, is not passed on to them.
        signal.signal(number, lambda *_: None)

LONGEST = (
    "test_real_",
    "test_audit_attacks.",
    "test_data_views.",
    "test_audit_",
    "test_kills_",
    "test_proxy_recordings",
)
"""Files that take minutes on a slow machine, or wait for packages, by how their names begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: a file is one worker's, and with a long one at the end the others would wait for it."""

    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(LONGEST) if item.path.name.startswith(name)), len(LONGEST))

    items.sort(key=place)
