"""Small files that an audit keeps beside the journals so as not to ask the ledger again. None of them is a record.

Without such a file, or with one that was made of anything else, the ledger is looked at. Nothing is judged here.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from ..data.journal import submeter_version
from ..data.ledger import Ledger
from ..data.schema import views_note
from .report import RunStanding, Waiting, age_min
from .rests_on import waiting_record
from .settings import AuditSettings
from .verdict import Verdict

_SEAL = "sha256"
_WAITING = {str(waiting): waiting for waiting in Waiting}
_VERDICTS = {str(verdict): verdict for verdict in Verdict}


def ground_of(ledger: Ledger, shift_min: int, settings: AuditSettings) -> list[Any]:
    """What every look at a ledger rests on beside its rows: this program, this file, and the settings."""
    return [
        [submeter_version(), views_note(), ledger.path.stat().st_ino],
        [shift_min, waiting_record(settings.waiting), settings.timing, sorted(settings.framework_key_ids.items())],
    ]


def record(standing: RunStanding) -> list[Any]:
    """A standing as it is kept: without its age, which time alone changes."""
    return [
        standing.run,
        standing.waiting,
        standing.ended_us,
        standing.verdict,
        standing.attempts,
        standing.next_read_us,
    ]


def standing_of(kept: list[Any], now_us: int) -> RunStanding:
    """The standing that `record` kept, as old as it is now."""
    (framework, run_id), waiting, ended_us, verdict, attempts, next_read_us = kept
    return RunStanding(
        run=(framework, run_id),
        waiting=_WAITING[waiting],
        ended_us=ended_us,
        age_min=age_min(ended_us, now_us),
        verdict=None if verdict is None else _VERDICTS[verdict],
        attempts=attempts,
        next_read_us=next_read_us,
    )


def read(path: Path) -> dict[str, Any]:
    """What `write` was given. Raises `OSError` where there is no such file, `ValueError` where it is not as written."""
    told = orjson.loads(path.read_bytes())
    if not isinstance(told, dict) or told.pop(_SEAL, None) != _seal(told):
        raise ValueError(f"{path.name} is not as it was written")
    return told


def write(path: Path, told: Mapping[str, Any]) -> None:
    """As JSON, in one step, and 0600 as everything beside a ledger; with a digest, so that damage is seen."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps({**told, _SEAL: _seal(told)}))
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _seal(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(told)).hexdigest()
