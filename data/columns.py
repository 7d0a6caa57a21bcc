"""What each kind of journal line carries: one table of names and types, read in three places.

The reading end checks a line against it, the bulk load hands it to DuckDB as explicit columns, and a test holds
`schema.sql` to it. A name that is not here is passed over (a later version may add one); a kind that is not here is
a located problem. Nothing here reads a line or knows SQL beyond the names of types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
TIME_US_MAX = 253_402_300_799_999_999
"""The last microsecond of the year 9999: a time beyond it is not one."""


class Kind(StrEnum):
    """The kinds of journal line of format 1."""

    PROCESS = "process"
    KEY = "key"
    START = "start"
    SETTLE = "settle"
    READ = "read"
    RUN = "run"
    STEP = "step"
    USAGE_READ = "usage_read"
    AUDIT = "audit"
    INFERRED = "inferred"
    GAP = "gap"
    STOP = "stop"


class Form(StrEnum):
    """What a value on the line must be. The value of a member is the type DuckDB reads it as."""

    TEXT = "VARCHAR"
    INTEGER = "BIGINT"
    NUMBER = "DOUBLE"
    TRUTH = "BOOLEAN"
    TEXTS = "VARCHAR[]"
    JSON = "JSON"
    TIME = "UBIGINT"
    """Microseconds since the epoch on the line; TIMESTAMP in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What one kind of line carries."""

    columns: Mapping[str, Form]
    required: frozenset[str]


COUNTS: dict[str, Form] = {
    "input_tokens": Form.INTEGER,
    "cached_input_tokens": Form.INTEGER,
    "cache_write_tokens": Form.INTEGER,
    "output_tokens": Form.INTEGER,
    "reasoning_tokens": Form.INTEGER,
    "input_text_tokens": Form.INTEGER,
    "input_audio_tokens": Form.INTEGER,
    "input_image_tokens": Form.INTEGER,
    "output_text_tokens": Form.INTEGER,
    "output_audio_tokens": Form.INTEGER,
    "output_image_tokens": Form.INTEGER,
    "total_tokens": Form.INTEGER,
    "images": Form.INTEGER,
    "characters": Form.INTEGER,
    "seconds": Form.NUMBER,
}

_START: dict[str, Form] = {
    "call_id": Form.TEXT,
    "started_at": Form.TIME,
    "framework": Form.TEXT,
    "key_fingerprint": Form.TEXT,
    "api_key_id": Form.TEXT,
    "run_id": Form.TEXT,
    "step": Form.TEXT,
    "label_source": Form.TEXT,
    "method": Form.TEXT,
    "path": Form.TEXT,
    "endpoint": Form.TEXT,
    "usage_endpoint": Form.TEXT,
    "operation": Form.TEXT,
    "retry_count": Form.INTEGER,
    "organization": Form.TEXT,
    "project": Form.TEXT,
    "upstream": Form.TEXT,
    "flags": Form.TEXTS,
}

_RESULT: dict[str, Form] = {
    "outcome": Form.TEXT,
    "ended_at": Form.TIME,
    "first_byte_at": Form.TIME,
    "completed_at": Form.TIME,
    "server_date": Form.TIME,
    "status_code": Form.INTEGER,
    "streamed": Form.TRUTH,
    "request_model": Form.TEXT,
    "response_model": Form.TEXT,
    "response_status": Form.TEXT,
    "response_id": Form.TEXT,
    "request_id": Form.TEXT,
    "batch_id": Form.TEXT,
    "service_tier": Form.TEXT,
    "usage": Form.JSON,
    "usage_bytes": Form.INTEGER,
    "usage_sha256": Form.TEXT,
    "tool_usage": Form.JSON,
    "tool_usage_bytes": Form.INTEGER,
    "tool_usage_sha256": Form.TEXT,
    "usage_source": Form.TEXT,
    "error": Form.TEXT,
    "request_bytes": Form.INTEGER,
    "response_bytes": Form.INTEGER,
    "overhead_us": Form.INTEGER,
}

_RUN: dict[str, Form] = {
    "framework": Form.TEXT,
    "run_id": Form.TEXT,
    "edge": Form.TEXT,
    "status": Form.TEXT,
    "by": Form.TEXT,
    "marked_at": Form.TIME,
}

LINES: dict[Kind, Carried] = {
    Kind.PROCESS: Carried(
        columns={
            "file_id": Form.TEXT,
            "host": Form.TEXT,
            "boot_id": Form.TEXT,
            "pid": Form.INTEGER,
            "version": Form.TEXT,
            "mode": Form.TEXT,
            "upstream": Form.TEXT,
            "listen": Form.TEXTS,
        },
        required=frozenset({"file_id", "host", "pid", "mode"}),
    ),
    Kind.KEY: Carried(
        columns={"key_fingerprint": Form.TEXT, "framework": Form.TEXT, "api_key_id": Form.TEXT},
        required=frozenset({"key_fingerprint"}),
    ),
    Kind.START: Carried(
        columns=_START, required=frozenset({"call_id", "started_at", "method", "path", "operation", "upstream"})
    ),
    Kind.SETTLE: Carried(
        columns={**_START, **_RESULT, **COUNTS},
        required=frozenset({"call_id", "started_at", "method", "path", "operation", "upstream", "outcome", "ended_at"}),
    ),
    Kind.READ: Carried(
        columns={
            "call_id": Form.TEXT,
            "response_id": Form.TEXT,
            "source": Form.TEXT,
            "usage": Form.JSON,
            "completed_at": Form.TIME,
            "response_status": Form.TEXT,
            "response_model": Form.TEXT,
            "service_tier": Form.TEXT,
            "flags": Form.TEXTS,
            **COUNTS,
        },
        required=frozenset({"call_id", "source"}),
    ),
    Kind.RUN: Carried(columns=_RUN, required=frozenset({"run_id", "edge", "by", "marked_at"})),
    Kind.STEP: Carried(
        columns={**_RUN, "step": Form.TEXT}, required=frozenset({"run_id", "step", "edge", "by", "marked_at"})
    ),
    Kind.USAGE_READ: Carried(
        columns={
            "read_id": Form.TEXT,
            "usage_endpoint": Form.TEXT,
            "api_key_ids": Form.TEXTS,
            "window_start": Form.TIME,
            "window_end": Form.TIME,
            "asked_at": Form.TIME,
            "answered_at": Form.TIME,
            "good": Form.TRUTH,
            "problem": Form.TEXT,
            "status_code": Form.INTEGER,
            "message": Form.TEXT,
            "request_id": Form.TEXT,
            "pages": Form.TEXTS,
            "holes": Form.INTEGER,
        },
        required=frozenset({"read_id", "usage_endpoint", "window_start", "window_end", "asked_at", "good"}),
    ),
    Kind.AUDIT: Carried(
        columns={
            "audit_id": Form.TEXT,
            "audited_at": Form.TIME,
            "scope": Form.TEXT,
            "framework": Form.TEXT,
            "run_id": Form.TEXT,
            "api_key_id": Form.TEXT,
            "window_start": Form.TIME,
            "window_end": Form.TIME,
            "verdict": Form.TEXT,
            "reason": Form.TEXT,
            "final": Form.TRUTH,
            "timing": Form.TEXT,
            "attempt": Form.INTEGER,
            "proof": Form.TEXT,
            "rests_on": Form.JSON,
            "next_read_at": Form.TIME,
            "detail": Form.JSON,
        },
        required=frozenset({"audit_id", "audited_at", "scope", "verdict"}),
    ),
    Kind.INFERRED: Carried(
        columns={"audit_id": Form.TEXT, "call_id": Form.TEXT, **COUNTS}, required=frozenset({"audit_id", "call_id"})
    ),
    Kind.GAP: Carried(
        columns={"from": Form.TIME, "to": Form.TIME, "calls": Form.INTEGER, "lines": Form.INTEGER},
        required=frozenset({"from", "to", "calls", "lines"}),
    ),
    Kind.STOP: Carried(columns={}, required=frozenset()),
}

BUCKET_COLUMNS: dict[str, Form] = {
    "read_id": Form.TEXT,
    "usage_endpoint": Form.TEXT,
    "minute": Form.TIME,
    "api_key_id": Form.TEXT,
    "model": Form.TEXT,
    "batch": Form.TRUTH,
    "service_tier": Form.TEXT,
    "input_tokens": Form.INTEGER,
    "input_cached_tokens": Form.INTEGER,
    "input_cache_write_tokens": Form.INTEGER,
    "output_tokens": Form.INTEGER,
    "images": Form.INTEGER,
    "num_model_requests": Form.INTEGER,
    "characters": Form.INTEGER,
    "seconds": Form.NUMBER,
}
"""One row of a Usage API page, as `usage_buckets` keeps it; the provider's own field names."""


TYPES: dict[Form, frozenset[type]] = {
    Form.TEXT: frozenset({str, type(None)}),
    Form.INTEGER: frozenset({int, type(None)}),
    Form.NUMBER: frozenset({int, float, type(None)}),
    Form.TRUTH: frozenset({bool, type(None)}),
    Form.TEXTS: frozenset({list, type(None)}),
    Form.JSON: frozenset({dict, list, str, int, float, bool, type(None)}),
    Form.TIME: frozenset({int, type(None)}),
}
"""The exact Python types of a parsed value of each form. Ranges are left to DuckDB, which refuses what does not fit."""

_TYPES: dict[Kind, dict[str, frozenset[type]]] = {
    kind: {name: TYPES[form] for name, form in carried.columns.items()} for kind, carried in LINES.items()
}

_LISTS: dict[Kind, tuple[str, ...]] = {
    kind: tuple(name for name, form in carried.columns.items() if form is Form.TEXTS) for kind, carried in LINES.items()
}


SHAPES_MAX = 1024
"""Shapes remembered by kind. Ours are a few dozen; the limit is for journals that are not ours."""

_fitting: dict[Kind, set[tuple[object, ...]]] = {kind: set() for kind in Kind}


def misfit(kind: Kind, line: Mapping[str, object]) -> str | None:
    """Why a line is not of this kind: a field missing or of the wrong form, in words; None: it fits.

    Lines come by the thousand in few shapes (the same names with values of the same types), so each shape is looked
    through once.
    """
    shape = (*line, *map(type, line.values()))
    fitting = _fitting[kind]
    if shape not in fitting:
        reason = _misfit_of_shape(kind, line)
        if reason is not None:
            return reason
        if len(fitting) >= SHAPES_MAX:
            fitting.clear()
        fitting.add(shape)
    for name in _LISTS[kind]:
        texts = line.get(name)
        if isinstance(texts, list) and not all(type(text) is str for text in texts):
            return f"{name} is not texts"
    return None


def _misfit_of_shape(kind: Kind, line: Mapping[str, object]) -> str | None:
    types = _TYPES[kind]
    for name, value in line.items():
        allowed = types.get(name)
        if allowed is not None and type(value) not in allowed:
            return f"{name} is not {LINES[kind].columns[name].name.lower()}"
    for name in LINES[kind].required:
        if line.get(name) is None:
            return f"{name} is missing"
    return None


def fits(form: Form, value: object) -> bool:
    """Whether one value is of this form and within what its column can hold."""
    if value is None or type(value) not in TYPES[form]:
        return False
    if form is Form.TIME:
        return 0 <= int(str(value)) <= TIME_US_MAX
    return form is not Form.INTEGER or INT64_MIN <= int(str(value)) <= INT64_MAX
