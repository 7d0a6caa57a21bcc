"""What holds for every generated test: how fast this machine is, and how busy, is none of its results.

The first text of a fresh clone waits for hypothesis to write its table of characters; beside other work that took 13
seconds, and failed a test as slow.

`SUBMETER_TESTS=quick` (`make quick`) tries a tenth of the examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("any machine"), max_examples=10)
settings.load_profile("quick" if os.environ.get("SUBMETER_TESTS") == "quick" else "any machine")
