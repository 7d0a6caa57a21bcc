"""A pretend OpenAI on loopback that keeps its own books.

It is what the meter is judged by, so it shares no code with it and imports nothing of ours. A request comes in at
`server`, is read and routed by `service`, and answered by a `wire_*` module: that decides the counts (`talk`), writes
them into `books`, and only then builds an answer (`frame`). `faults` says what may go wrong, `spoil` and
`spoil_usage` do it; `deliver` puts it on the
connection and closes the entry before the client can see the end. `usage_query` and `usage_api` are the other face:
the organization Usage API over the same books, late as the real one is (`state` decides how late, `settings` has the
switches, `manner` how the bytes go out). What a request wants written (functions called, text in the form of a schema)
is read by `wanted`, made by `instances` and checked by `fits`; `script` has answers given beforehand. Objects that cost
nothing lie on a `shelf`. `sockets` speaks the same over WebSockets, `client` is a plain caller, and `counts`, `words`
and `models` are the small change.

    with Sim(seed=7, now=clock, keys=[Key(secret="sk-a", api_key_id="key_a")], lag=600.0) as sim:
        ...  # OPENAI_BASE_URL = sim.base_url
        assert sim.books.total(api_key_id="key_a").input_tokens == ...
"""

from .books import Books, Entry, Line
from .counts import Counts
from .faults import Fault, FaultKind, FaultPlan, Mangle
from .server import Sim
from .settings import AbortBilling, Key, Settings

__all__ = [
    "AbortBilling",
    "Books",
    "Counts",
    "Entry",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Key",
    "Line",
    "Mangle",
    "Settings",
    "Sim",
]
