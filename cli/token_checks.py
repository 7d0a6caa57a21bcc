"""What `doctor` says of calls whose keys are configured nowhere: tokens that change, as a workload identity's do.

The framework of such calls is the run's, and stands. What is missing is the id under which the Usage API bills them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..data.error import SubmeterError
from ..data.keys import ID_SUFFIX, PREFIX
from .checks import Finding, State

if TYPE_CHECKING:
    from ..data.clock import Clock
    from ..data.keys import KeyRing

CHECK = "changing tokens"


def check_tokens(ledger: Path, ring: KeyRing, clock: Clock) -> list[Finding]:
    """Frameworks whose calls carry keys that no variable holds, and that have no id; none where there are none."""
    from ..data.ledger import Ledger

    if not ledger.exists():
        return []
    try:
        rows = Ledger(ledger, clock=clock).query("keys_in_use").rows
    except SubmeterError as error:
        return [
            Finding(
                check=CHECK,
                state=State.CANNOT_TELL,
                said=f"{error.what} {error.why}",
                next_step=error.next_step,
            )
        ]
    keys: dict[str, int] = {}
    for key_fingerprint, framework, api_key_id, *_ in rows:
        told = framework is None or api_key_id is not None or key_fingerprint is None
        if not told and ring.of_framework(framework) is None and ring.id_of_tokens(framework) is None:
            keys[framework] = keys.get(framework, 0) + 1
    return [
        Finding(
            check=CHECK,
            state=State.WRONG,
            said=f"Calls of {framework} carry {count:,} key{'' if count == 1 else 's'} that no variable holds.",
            next_step=f"If they are tokens that change (workload identity), set {PREFIX}{framework.upper()}{ID_SUFFIX} "
            f"alone to the id (key_...) that they are billed to; else set {PREFIX}{framework.upper()} too.",
        )
        for framework, count in sorted(keys.items())
    ]
