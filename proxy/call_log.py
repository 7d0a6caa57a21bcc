"""One line for a call that has ended, for whoever watches the proxy. Pure: a settle line in, words out.

Calls that were plainly metered are silent unless all are asked for; silence then is success. Never here: where lines
are written, and anything of a call's content, which no settle line has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.call import DISTRUSTED, Flag, Operation, Outcome
from ..data.clock import utc

_SUMMED = ("completions", "embeddings", "images")
"""Usage endpoints whose calls have a token total, or a number of images, to tell."""
_TOLD = (
    "call_id",
    "method",
    "path",
    "endpoint",
    "operation",
    "outcome",
    "status_code",
    "framework",
    "run_id",
    "step",
    "request_model",
    "response_model",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "flags",
    "error",
    "upstream",
)


def is_plain(line: Mapping[str, Any]) -> bool:
    """Whether a call went as calls do: read and without doubt, or nothing that has usage to tell.

    What a call means for sums is its standing, which the ledger decides (`macro_standing_of.sql`) and a later read may
    change; this is what can be told at its end.
    """
    outcome, flags = line["outcome"], line.get("flags", ())
    if outcome not in (Outcome.METERED, Outcome.NO_USAGE):
        return False
    if line["operation"] != Operation.CREATE:
        return True
    if Flag.UNKNOWN_ENDPOINT in flags:
        return False
    if line.get("usage_endpoint") not in _SUMMED:
        return True
    if Flag.WARM_UP in flags:
        return True
    if any(flag in flags for flag in DISTRUSTED):
        return False
    match line["usage_endpoint"]:
        case "completions":
            return "input_tokens" in line and "output_tokens" in line
        case "embeddings":
            return "input_tokens" in line
        case _:
            return "images" in line


def call_text(line: Mapping[str, Any]) -> str:
    """The line for people, such as `12:00:01Z refused 401 POST /v1/responses chatdev/r-1 step 2: invalid_api_key`."""
    run = "/".join(str(line[name]) for name in ("framework", "run_id") if name in line)
    model = line.get("response_model") or line.get("request_model")
    words = [
        _time(line["ended_at"]),
        str(line["outcome"]),
        str(line.get("status_code", "-")),
        f"{line['method']} {line['path']}",
        run,
        f"step {line['step']}" if "step" in line else "",
        str(model) if model else "",
    ]
    if "input_tokens" in line or "output_tokens" in line:
        words.append(f"{line.get('input_tokens', '-')} + {line.get('output_tokens', '-')} tokens")
    if line.get("flags"):
        words.append(f"[{' '.join(line['flags'])}]")
    said = " ".join(" ".join(words).split())
    return f"{said}: {' '.join(str(line['error']).split())}" if line.get("error") else said


def call_record(line: Mapping[str, Any]) -> dict[str, Any]:
    """The same for programs; what is not known is left out."""
    told = {name: line[name] for name in _TOLD if name in line}
    duration_ms = (line["ended_at"] - line["started_at"]) // 1000
    return {"event": "call", "at": _time(line["ended_at"]), **told, "duration_ms": duration_ms}


def _time(us: int) -> str:
    return f"{utc(us):%Y-%m-%dT%H:%M:%SZ}"
