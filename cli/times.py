"""Times and durations as users type them: `30m`, `24h`, `2025-10-28T09:00Z`. Callbacks of options."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import click

from ..data.clock import US_PER_S

_MINUTES = {"m": 1, "min": 1, "h": 60, "d": 24 * 60}
_DURATION = re.compile(r"(?P<number>\d{1,7})\s*(?P<unit>[a-z]*)")


def minutes(default_unit: str) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """A duration as whole minutes; a bare number counts `default_unit` (`m` or `h`). None: not given."""

    def convert(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        found = _DURATION.fullmatch(value.strip().lower())
        unit = (found["unit"] or default_unit) if found else ""
        if found is None or unit not in _MINUTES:
            raise click.BadParameter(f"{value!r} is no duration; write it as 30m, 24h or 2d.")
        return int(found["number"]) * _MINUTES[unit]

    return convert


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """A time in ISO 8601 as microseconds UTC; one without a zone is UTC. None: not given."""
    if value is None:
        return None
    try:
        told = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no ISO 8601 time; write it as 2025-10-28T09:00Z.") from error
    told = told.replace(tzinfo=UTC) if told.tzinfo is None else told
    return int(told.replace(microsecond=0).timestamp()) * US_PER_S + told.microsecond
