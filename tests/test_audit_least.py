"""Least amount against brute force: small random gates, where every path can be walked."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import pytest

from submeter.audit.gate import Borders, Gate, Item, Vector, cut_to, make_borders
from submeter.audit.least import Dirty, dirty_of, in_every_least, least_amounts, least_without, one_error

START = 10
CASES = 400


def boxes(rng: random.Random, *, closed: bool, width: int = 1) -> Borders:
    """Random boxes of a few values, from nothing to an end (closed) or to a box."""
    gates = [Gate(low=(0,) * width, high=(0,) * width)]
    for _ in range(rng.randint(2, 5)):
        low = tuple(rng.randint(-2, 2) for _ in range(width))
        gates.append(Gate(low=low, high=tuple(each + rng.randint(0, 2) for each in low)))
    if closed:
        end = tuple(rng.randint(-3, 3) for _ in range(width))
        gates.append(Gate(low=end, high=end))
    return borders_of(gates)


def borders_of(gates: Sequence[Gate]) -> Borders:
    """Borders with these gates, and without any call."""
    return Borders(
        start=START,
        until=START + len(gates) - 1,
        differences=((0,) * len(gates[0].low),) * len(gates),
        low=tuple(zip(*(gate.low for gate in gates), strict=True)),
        high=tuple(zip(*(gate.high for gate in gates), strict=True)),
        fitted=(),
    )


def values(gate: Gate) -> Iterator[Vector]:
    if gate.points is not None:
        yield from gate.points
    else:
        yield from product(*(range(a, b + 1) for a, b in zip(gate.low, gate.high, strict=True)))


def least_paths(gates: Sequence[Gate], end: Vector) -> list[tuple[Vector, ...]]:
    """Every path of least amount through the gates to an end; all other paths are walked, too."""
    paths: list[tuple[Vector, ...]] = list(product(*(list(values(gate)) for gate in gates[:-1]), [end]))
    least = min((amount(path) for path in paths), default=0)
    return [path for path in paths if amount(path) == least]


def amount(path: Sequence[Vector]) -> int:
    return sum(abs(b - a) for one, other in pairwise(path) for a, b in zip(one, other, strict=True))


def steps(path: Sequence[Vector]) -> set[Dirty]:
    return {
        Dirty(minute=START + number, place=place, more=b > a)
        for number, (one, other) in enumerate(pairwise(path))
        for place, (a, b) in enumerate(zip(one, other, strict=True))
        if a != b
    }


def one_field(borders: Borders, place: int) -> list[Gate]:
    return [Gate(low=(gate.low[place],), high=(gate.high[place],)) for gate in borders.gates]


@pytest.mark.parametrize("width", [1, 2])
def test_a_closed_chain_of_boxes_is_dirty_where_some_least_path_steps(width: int) -> None:
    rng = random.Random(1)
    for _ in range(CASES if width == 1 else CASES // 8):
        borders = boxes(rng, closed=True, width=width)
        end = borders.gates[-1].low
        amounts = least_amounts(borders)
        paths = least_paths(borders.gates, end)
        assert sum(amounts) == amount(paths[0])
        if amounts == tuple(map(abs, end)):
            # Sums of calls would narrow the gates further; without calls only the difference is one.
            continue
        assert dirty_of(borders, closed=True) == set().union(*map(steps, paths))


def test_a_chain_that_goes_on_is_dirty_where_a_least_path_to_any_end_steps() -> None:
    rng = random.Random(2)
    for _ in range(CASES):
        borders = boxes(rng, closed=False)
        found: set[Dirty] = set()
        for end in values(borders.gates[-1]):
            found |= set().union(*map(steps, least_paths(borders.gates, end)))
        assert dirty_of(borders, closed=False) == found


def random_chain(rng: random.Random) -> tuple[Borders, Vector]:
    """A chain of a few calls of one to three tokens, with errors of one sign a field, and what it adds up to."""
    width, minutes = rng.choice((1, 1, 2)), rng.randint(3, 5)
    items: list[Item] = []
    billed: dict[int, Vector] = {}
    signs = [rng.choice((-1, 1)) for _ in range(width)]
    if width == 2 and rng.random() < 0.5:
        signs = [signs[0]] * 2

    def bill(minute: int, tokens: Vector) -> None:
        have = billed.get(minute, (0,) * width)
        billed[minute] = tuple(a + b for a, b in zip(have, tokens, strict=True))

    for _ in range(rng.randint(1, 4)):
        first = rng.randrange(minutes)
        last = rng.randrange(first, minutes)
        end = rng.randint(first, last)
        tokens = tuple(rng.randint(1, 3) for _ in range(width))
        items.append(Item(first=START + first, end=START + end, last=START + last, amounts=tokens))
        shown = tuple(0 if signs[i] < 0 and rng.random() < 0.3 else tokens[i] for i in range(width))
        bill(START + rng.randint(first, last), shown)
    for _ in range(rng.choice((0, 1, 1, 2))):
        hidden = tuple(rng.randint(1, 3) if signs[i] > 0 else 0 for i in range(width))
        bill(START + rng.randrange(minutes), hidden)
    until = START + minutes
    borders = make_borders(start=START, until=until, width=width, billed=billed, items=items)
    return borders, borders.gates[-1].low


@pytest.mark.parametrize("sums_max", [300, 3])
def test_a_closed_chain_of_lists_and_boxes_is_dirty_where_some_least_path_steps(
    sums_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submeter.audit.gate.SUMS_MAX", sums_max)  # so that small chains have boxes beside lists
    rng = random.Random(3)
    lists = mixed = 0
    for _ in range(CASES):
        borders, end = random_chain(rng)
        if sum(least_amounts(borders)) != sum(map(abs, end)):
            continue
        gates = cut_to(borders, end)
        listed = [gate.points is not None for gate in gates if gate.low != gate.high]
        lists += any(listed)
        mixed += any(listed) and not all(listed)
        if any(not list(values(gate)) for gate in gates[1:-1]):
            continue
        expected = set().union(*map(steps, least_paths(gates, end))) if any(end) else set()
        assert dirty_of(borders, closed=True) == expected
    assert lists > CASES // 10
    assert mixed or sums_max == 300


@pytest.mark.parametrize("closed", [True, False])
def test_an_error_is_in_certain_minutes_of_every_least_path_or_some_least_path_avoids_them(closed: bool) -> None:
    rng = random.Random(4)
    said = set()
    for _ in range(CASES):
        borders = boxes(rng, closed=closed)
        minutes = frozenset(
            START + step for step in range(len(borders.gates) - 1) if rng.random() < rng.choice((0.3, 0.8))
        )
        more = rng.random() < 0.5
        paths = [path for end in values(borders.gates[-1]) for path in least_paths(borders.gates, end)]
        inside = [any(each.more is more and each.minute in minutes for each in steps(path)) for path in paths]
        assert in_every_least(borders, 0, minutes, more=more) is all(inside)
        assert least_without(borders, 0, minutes, more=more) is not all(inside)
        said.add(all(inside))
    assert said == {True, False}


@pytest.mark.parametrize("closed", [True, False])
def test_every_least_path_that_could_have_the_error_of_a_spot_has_it_in_the_minutes_named(closed: bool) -> None:
    rng = random.Random(5)
    parted = 0
    for _ in range(CASES):
        borders = boxes(rng, closed=closed)
        ends = list(values(borders.gates[-1]))
        by_end = [[steps(path) for path in least_paths(borders.gates, end)] for end in ends]
        dirty = frozenset(each for paths in by_end for path in paths for each in path)
        for spot in dirty:
            named = one_error(borders, dirty, spot, closed=closed)
            assert spot in named
            parted += named != {each for each in dirty if each.more is spot.more}
            for paths in by_end:
                if any(spot in path for path in paths):
                    assert all(path & named for path in paths)
    assert parted


def test_two_errors_with_a_settled_border_between_are_two() -> None:
    at = [0, 0, 2, 2, 5]
    borders = borders_of([Gate(low=(each,), high=(each,)) for each in at])
    dirty = frozenset({Dirty(minute=START + 1, place=0, more=True), Dirty(minute=START + 3, place=0, more=True)})
    for spot in dirty:
        assert one_error(borders, dirty, spot, closed=True) == {spot}
