"""The public list of prices: genai-prices (extra `report`), as prices of the models that a ledger names.

A model that the list does not know has no price here. A service tier has one only from the day on which the list tells
one of it: before that day nobody looked, and the default's is not it. Never here: a request to anywhere; the list is
the one that was installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ..data.prices import DECIMALS, DEFAULT_TIER, Price

PROVIDER = "openai"
_KEYS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "output": "output_mtok",
}
_TIERS: dict[str, dict[str, str]] = {
    DEFAULT_TIER: {},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "batch": {"processing": "batch"},
}
"""Service tiers, and what the list calls each."""


def listed_prices(models: Iterable[str]) -> tuple[Price, ...]:
    """What the list has of these models, each by the name given, in every tier and over all of its dates."""
    from genai_prices.data_snapshot import get_snapshot

    provider = next(each for each in get_snapshot().providers if each.id == PROVIDER)
    found: list[Price] = []
    for name in sorted(set(models)):
        model = provider.find_model(name.lower())
        if model is not None:
            found += _of_model(name, model)
    return tuple(found)


def _of_model(name: str, model: Any) -> Iterator[Price]:
    """All prices of one model; none where one hangs on more than the day."""
    conditions = [] if not isinstance(model.prices, list) else [each.constraint for each in model.prices]
    conditions += [variant.constraint for variant in model.price_variants or ()]
    if any(each is not None and not hasattr(each, "start_date") for each in conditions):
        return
    starts = sorted({each.start_date for each in conditions if each is not None})
    for begins, ends in pairwise([None, *starts, None]):
        at = datetime.combine(begins or date(1970, 1, 1), time(), tzinfo=UTC)
        for tier, context in _TIERS.items():
            if not context or _has_variant(model, context, at):
                yield from _thresholds(name, tier, begins, ends, model.get_prices(at, context or None))


def _has_variant(model: Any, context: dict[str, str], at: datetime) -> bool:
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )


def _thresholds(name: str, tier: str, begins: date | None, ends: date | None, told: Any) -> Iterator[Price]:
    """One price for each number of input tokens from which on the list asks for another one."""
    listed = {word: getattr(told, key, None) for word, key in _KEYS.items()}
    if listed["input"] is None:
        return
    starts = {each.start for price in listed.values() if price is not None for each in getattr(price, "tiers", ())}
    for above in (-1, *sorted(starts)):
        amounts = {word: _at(price, above) for word, price in listed.items() if price is not None}
        if any(amount != round(amount, DECIMALS) for amount in amounts.values()):
            continue  # It cannot be held exactly, so it is not known.
        yield Price(model=name, begins=begins, ends=ends, service_tier=tier, above_input_tokens=above, **amounts)


def _at(price: Any, above: int) -> Decimal:
    """The price of calls with more input tokens than `above`."""
    if isinstance(price, Decimal):
        return price
    held = [each.price for each in price.tiers if each.start <= above]
    return held[-1] if held else price.base  # type: ignore[no-any-return]
