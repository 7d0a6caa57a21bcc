"""What a proxy says of itself at `/_submeter/health`: what it is, whose keys it knows, how many calls it has.

Of several workers any is asked, and the counts are those of all. Never here: secrets; of a key there is its
fingerprint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..data.journal import submeter_version
from ..data.keys import KeyRing
from .place import WorkerPlace
from .recorder import Recorder


def health_of(
    *,
    recorder: Recorder,
    ledger: Path,
    mode: str,
    intercept_url: str | None,
    authority: Path | None,
    remote: bool,
    place: WorkerPlace | None,
) -> dict[str, Any]:
    """The answer, as JSON has it. `remote`: other machines may ask, and no id is shown to them."""
    ring = KeyRing() if remote else recorder.keys
    return {
        "submeter": submeter_version(),
        "ledger": str(ledger.absolute()),
        "upstream": recorder.upstream,
        "mode": mode,
        "intercept": intercept_url,
        "authority": str(authority),
        "keys": [[key.framework, key.fingerprint, key.api_key_id] for key in ring.keys],
        "token_ids": dict(ring.token_ids),
        "pid": os.getpid(),
        **_counts(recorder, place),
    }


def _counts(recorder: Recorder, place: WorkerPlace | None) -> dict[str, int]:
    if place is None:
        return {
            "calls_open": len(recorder.open),
            "calls_settled": recorder.settled,
            "lines_waiting": recorder.journal.lines_waiting,
        }
    rows = place.board.rows()
    return {
        "workers": place.count,
        "calls_open": sum(row.calls_open for row in rows),
        "calls_settled": sum(row.settled for row in rows),
        "lines_waiting": sum(row.lines_waiting for row in rows),
    }
