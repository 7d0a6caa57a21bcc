"""What a user may have meant by a name that there is not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean chatdev? `, to be put before what else is said; empty where no known name is near."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f"Did you mean {by_lower[found[0]]}? " if found else ""
