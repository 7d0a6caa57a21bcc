"""A usage object to counts, as reported: one table of the names the wire has used.

Absent stays None; nothing is summed or repaired, and one thing is inferred: the output of a legacy completion that
tells its prompt and its total. A count that cannot be believed is kept where a column can hold it, and flagged; so is
a usage that contradicts itself. Names: docs/openai-usage.md A.2-A.10, G.14 (singular and plural detail objects).
Unknown keys are left alone; they survive in the verbatim usage.

Never here: bytes, endpoints, and anything that raises on what a provider sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..data.call import COUNT_MAX, Flag, Usage

_INT64_MAX = 2**63 - 1

_TOTALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("input_tokens", ("prompt_tokens", "input_tokens")),
    ("output_tokens", ("completion_tokens", "output_tokens")),
    ("total_tokens", ("total_tokens",)),
    # Overruled by the input details, where they say it.
    ("cached_input_tokens", ("cached_tokens",)),
)
"""Field of `Usage`, and its one or two names at the top of a usage object; the first that is not null tells."""
_FAR_SHARE = 100
"""A total that is further from the sum of its parts than one and a hundredth of the larger contradicts them.

It need not be equal: OpenAI's own example of a compaction is 15 off in 54,912 (docs/openai-usage.md A.10).
"""

_DETAILS: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], ...] = (
    (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details", "prompt_token_details"),
        (
            ("cached_input_tokens", "cached_tokens"),
            ("cache_write_tokens", "cache_write_tokens"),
            ("input_text_tokens", "text_tokens"),
            ("input_audio_tokens", "audio_tokens"),
            ("input_image_tokens", "image_tokens"),
        ),
    ),
    (
        ("completion_tokens_details", "output_tokens_details", "output_token_details", "completion_token_details"),
        (
            ("reasoning_tokens", "reasoning_tokens"),
            ("output_text_tokens", "text_tokens"),
            ("output_audio_tokens", "audio_tokens"),
            ("output_image_tokens", "image_tokens"),
        ),
    ),
)
"""Names of a detail object (the first that is there and not null or empty), and the counts inside it."""


def read_usage(
    usage: Mapping[str, object], *, images: int | None = None, legacy: bool = False
) -> tuple[Usage, tuple[Flag, ...]]:
    """The counts of one usage object and what is odd about them; total, it never raises.

    Flags: `count_malformed` (a bool, float, text or container where a count belongs; the count is None),
    `count_negative` and `count_absurd` (over 10^9; kept, or None where 64 bits cannot hold it),
    `cached_over_input`, `usage_contradicts` (two names of one count differ, or the total is far from its parts; of
    two counts those stand that agree with the total). `images` is passed through: it is counted in the body, not told
    by the usage. `legacy`: of a legacy completion, which leaves its count out where it has no text.
    """
    counts: dict[str, int] = {}
    flags: dict[Flag, None] = {}
    for name, keys in _TOTALS:
        value = usage.get(keys[0])
        other = usage.get(keys[1]) if len(keys) > 1 else None
        differ = value is not None and other is not None and value != other
        if differ:
            value = next(usage[key] for key in _by_total(usage) if key in keys)
        elif value is None:
            value = other
        if value is not None:
            _keep(counts, name, value, flags)
        if differ:
            flags[Flag.USAGE_CONTRADICTS] = None
    for containers, fields in _DETAILS:
        for container in containers:
            details = usage.get(container)
            if details is None or details == {}:
                continue
            if not isinstance(details, Mapping):
                flags[Flag.COUNT_MALFORMED] = None
                continue
            for name, key in fields:
                value = details.get(key)
                if value is not None:
                    _keep(counts, name, value, flags)
            break
    if legacy and "output_tokens" not in counts and Flag.COUNT_MALFORMED not in flags:
        output = counts.get("total_tokens", -1) - counts.get("input_tokens", 0)
        if "input_tokens" in counts and output >= 0:
            counts["output_tokens"] = output
    if _far_from_parts(counts):
        flags[Flag.USAGE_CONTRADICTS] = None
    cached = counts.get("cached_input_tokens")
    if cached is not None and cached > counts.get("input_tokens", cached):
        flags[Flag.CACHED_OVER_INPUT] = None
    seconds = usage.get("seconds")
    measured = None if seconds is None else _seconds(seconds, flags)
    return Usage(**counts, images=images, seconds=measured), tuple(flags)


_NAMES = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")


def _by_total(usage: Mapping[str, object]) -> tuple[str, ...]:
    """The names of counts, those first whose sum is the total that is told; else in the order of `_TOTALS`."""
    for these in (_NAMES[:2], _NAMES[2:]):
        parts = [usage.get(name) for name in these]
        if all(type(part) is int for part in parts) and sum(parts) == usage.get("total_tokens"):  # type: ignore[arg-type]
            return (*these, *_NAMES)
    return _NAMES


def _far_from_parts(counts: Mapping[str, int]) -> bool:
    """Whether the total is told and is not about the sum of the input and output that are told."""
    told = counts.get
    total, into, out = told("total_tokens"), told("input_tokens"), told("output_tokens")
    if total is None or (into is None and out is None):
        return False
    parts = (into or 0) + (out or 0)
    return abs(total - parts) > 1 + max(total, parts) // _FAR_SHARE


def _keep(counts: dict[str, int], name: str, value: object, flags: dict[Flag, None]) -> None:
    """Keep one count under its name, if a column can hold it; flag what is odd about it."""
    # `type` and not `isinstance`: a bool is an int to Python, and no count to us.
    if type(value) is not int:
        counts.pop(name, None)
        flags[Flag.COUNT_MALFORMED] = None
        return
    if value < 0:
        flags[Flag.COUNT_NEGATIVE] = None
    elif value > COUNT_MAX:
        flags[Flag.COUNT_ABSURD] = None
    if -_INT64_MAX <= value <= _INT64_MAX:
        counts[name] = value
    else:
        counts.pop(name, None)
        flags[Flag.COUNT_ABSURD] = None


def _seconds(value: object, flags: dict[Flag, None]) -> float | None:
    """Audio seconds, a whole number or a fraction; None, flagged, where it is neither."""
    if type(value) is int and abs(value) <= _INT64_MAX:
        seconds = float(value)
    elif type(value) is float and math.isfinite(value):
        seconds = value
    else:
        flags[Flag.COUNT_ABSURD if type(value) is int else Flag.COUNT_MALFORMED] = None
        return None
    if seconds < 0:
        flags[Flag.COUNT_NEGATIVE] = None
    elif seconds > COUNT_MAX:
        flags[Flag.COUNT_ABSURD] = None
    return seconds
