"""Which call whose client left can be asked for afterwards, and where (`--receipts`, off by default). Pure.

The provider keeps a response unless told not to (`store`), and a chat completion only if told to (docs/openai-usage.md
A.1); what is kept can be read by its id, and tells its usage. The read is a call of its own, flagged `receipt`; the
ledger brings the two together as it does for any read. Never here: keys, and sending.
"""

from __future__ import annotations

from urllib.parse import quote

from ..data.call import Operation
from .attempt import Attempt

CARRIED = (b"authorization", b"api-key", b"openai-organization", b"openai-project")
"""Headers of the caller's request that its receipt is asked for with."""


def receipt_path(attempt: Attempt) -> str | None:
    """The path that reads what this call left behind; None: nothing is kept, or its usage or its id is not in doubt."""
    facts, start = attempt.request_facts, attempt.start
    if attempt.unsettled_id is None or facts is None or start.operation is not Operation.CREATE:
        return None
    match start.endpoint:
        case "responses":
            kept = facts.store is not False
        case "chat/completions":
            kept = facts.store is True
        case _:
            kept = False
    return f"{start.path.rstrip('/')}/{quote(attempt.unsettled_id, safe='')}" if kept else None
