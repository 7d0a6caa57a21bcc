"""What tokens cost: a list of dated prices, from a file of one's own, as SQL takes it.

    [[prices]]
    model = "gpt-4o-mini"        # also prices its dated releases, gpt-4o-mini-2024-07-18; a whole name goes before
    input = 0.15                 # USD per million tokens, up to six decimals
    cached_input = 0.075         # may be left out, as all below
    cache_write = 0.1875
    output = 0.60
    from = 2024-07-18            # the first day, UTC
    to = 2027-01-01              # the first day on which it is no more
    service_tier = "flex"        # else `default`; `batch` is the Batch API's
    above_input_tokens = 272000  # for calls with more input tokens than this

TOML as here, or JSON with the same names. Pure but for reading the file. Never here: what a call cost; that rule stands
in `macro_call_costs.sql`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from .error import SubmeterError
from .harmless import harmless
from .system import read_file, words

FILE_BYTES_MAX = 4 * 1024 * 1024
USD_MAX = Decimal(100_000_000)
DECIMALS = 6
"""A price is a DECIMAL(14, 6) in SQL."""
DEFAULT_TIER = "default"
_AMOUNTS = ("input", "cached_input", "cache_write", "output")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model's tokens cost for a time, in USD per million. None: no such price is known."""

    model: str
    input: Decimal
    """Of input tokens that were neither read from the cache nor written to it."""
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None
    """None of an embedding, which has no output."""
    begins: date | None = None
    """The first day, UTC; None: since ever. `from` in a file."""
    ends: date | None = None
    """The first day after it; None: until further notice. `to` in a file."""
    service_tier: str = DEFAULT_TIER
    above_input_tokens: int = -1
    """For calls with more input tokens than this."""


_IN_FILE = {"begins": "from", "ends": "to"}
_NAMES = tuple(_IN_FILE.get(field.name, field.name) for field in fields(Price))


def read_prices(path: Path) -> tuple[Price, ...]:
    """The prices of a TOML or JSON file. Raises `SubmeterError` naming what is wrong with it."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _broken(path, f"it is over {FILE_BYTES_MAX} bytes")
        text = read_file(path).decode("utf-8")
        told = (
            json.loads(text, parse_float=Decimal, parse_constant=str)
            if text.lstrip().startswith("{")
            else tomllib.loads(text, parse_float=Decimal)
        )
    except OSError as error:
        raise _broken(path, words(error)) from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"it is neither TOML nor JSON ({error})") from error
    listed = told.get("prices") if isinstance(told, dict) else None
    if not isinstance(listed, list) or not listed:
        raise _broken(path, "it has no list `prices`")
    try:
        prices = tuple(_price(place, each) for place, each in enumerate(listed, 1))
        _check_overlaps(prices)
    except ValueError as error:
        raise _broken(path, str(error)) from error
    return prices


def prices_json(prices: Iterable[Price]) -> str:
    """A list of prices as `call_costs` takes it: JSON, each amount a text, so that it stays exact."""
    return json.dumps(
        [
            {
                field.name: str(value) if isinstance(value, Decimal | date) else value
                for field in fields(Price)
                if (value := getattr(price, field.name)) is not None
            }
            for price in prices
        ]
    )


def _price(place: int, told: object) -> Price:
    if not isinstance(told, dict) or not isinstance(told.get("model"), str) or not told["model"]:
        raise ValueError(f"price {place} names no model")
    name = f"price {place} ({told['model']})"
    if unknown := sorted(set(told) - set(_NAMES)):
        raise ValueError(f"{name} has a {unknown[0]!r}; there are {', '.join(_NAMES)}")
    if "input" not in told:
        raise ValueError(f"{name} has no input")
    begins, ends = (_day(name, word, told.get(word)) for word in ("from", "to"))
    if begins is not None and ends is not None and ends <= begins:
        raise ValueError(f"{name} ends before it begins")
    tier, above = told.get("service_tier", DEFAULT_TIER), told.get("above_input_tokens", -1)
    if not isinstance(tier, str) or not tier:
        raise ValueError(f"{name}: service_tier is no text")
    if type(above) is not int or not -1 <= above <= 10**9:
        raise ValueError(f"{name}: above_input_tokens is no count")
    amounts = {word: _amount(name, word, told[word]) for word in _AMOUNTS if word in told}
    return Price(model=told["model"], begins=begins, ends=ends, service_tier=tier, above_input_tokens=above, **amounts)


def _amount(name: str, word: str, value: Any) -> Decimal:
    """A price from a number. Raises `ValueError` for one that SQL could not hold as it is."""
    if type(value) not in (int, Decimal):
        raise ValueError(f"{name}: {word} is no number")
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount < USD_MAX:
        raise ValueError(f"{name}: {word} is {amount}, which is no price")
    if amount != round(amount, DECIMALS):
        raise ValueError(f"{name}: {word} has more than {DECIMALS} decimals")
    return amount


def _day(name: str, word: str, value: Any) -> date | None:
    if value is None or type(value) is date:
        return value
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{name}: {word} is {str(value)!r}, not a day such as 2026-11-29")


def _check_overlaps(prices: Iterable[Price]) -> None:
    """Raise `ValueError` where two prices would be a call's."""
    last: dict[tuple[str, str, int], Price] = {}
    for price in sorted(prices, key=lambda price: price.begins or date.min):
        place = (price.model, price.service_tier, price.above_input_tokens)
        before = last.get(place)
        if before is not None and (before.ends is None or price.begins is None or before.ends > price.begins):
            raise ValueError(f"two prices of {price.model} ({price.service_tier}) hold on {price.begins or 'one day'}")
        last[place] = price


def _broken(path: Path, why: str) -> SubmeterError:
    return SubmeterError(
        f"This is no list of prices: {path}",
        f"{harmless(why)}.",
        "What one looks like says: submeter steps --help; or take the public list: --prices genai-prices",
    )
