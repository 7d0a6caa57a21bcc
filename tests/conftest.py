"""What holds for every generated test: how fast this machine is, and how busy, is none of its results.

The first text of a fresh clone waits for hypothesis to write its table of characters; beside other work that took 13
seconds, and failed a test as slow.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
