"""Placement against brute force, and its bounds."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from submeter.audit.placement import Kind, Placement, place


def never() -> float:
    return 0.0


def kind(first: int, last: int, *amounts: int, calls: int = 1) -> Kind:
    return Kind(first=first, last=last, amounts=amounts, calls=calls)


def outcome(kinds: list[Kind], billed: dict[int, tuple[int, ...]]) -> Placement:
    return place(kinds, billed, now_s=never).outcome


def by_force(kinds: list[Kind], billed: dict[int, tuple[int, ...]]) -> bool:
    """Every way to put every call into one of its minutes."""
    singles = [each for each in kinds for _ in range(each.calls) if any(each.amounts)]
    wanted = {minute: amounts for minute, amounts in billed.items() if any(amounts)}
    for minutes in product(*(range(each.first, each.last + 1) for each in singles)):
        sums: dict[int, tuple[int, ...]] = {}
        for minute, each in zip(minutes, singles, strict=True):
            before = sums.get(minute, (0,) * len(each.amounts))
            sums[minute] = tuple(a + b for a, b in zip(before, each.amounts, strict=True))
        if sums == wanted:
            return True
    return False


def test_calls_that_fit_are_placed_and_calls_that_do_not_are_impossible() -> None:
    assert outcome([kind(1, 3, 10), kind(2, 4, 7)], {2: (10,), 4: (7,)}) is Placement.PLACED
    assert outcome([kind(1, 3, 10), kind(2, 4, 7)], {2: (17,)}) is Placement.PLACED
    assert outcome([kind(1, 3, 10), kind(2, 4, 7)], {2: (9,), 3: (8,)}) is Placement.IMPOSSIBLE
    assert outcome([kind(1, 3, 10), kind(2, 4, 7)], {1: (7,), 3: (10,)}) is Placement.IMPOSSIBLE
    assert outcome([], {}) is Placement.PLACED
    assert outcome([], {1: (1,)}) is Placement.IMPOSSIBLE
    assert outcome([kind(1, 3, 10)], {}) is Placement.IMPOSSIBLE


def test_a_call_is_placed_whole() -> None:
    assert outcome([kind(1, 3, 10)], {1: (5,), 2: (5,)}) is Placement.IMPOSSIBLE


def test_every_field_of_a_call_goes_into_the_same_minute() -> None:
    assert outcome([kind(1, 2, 10, 1), kind(1, 2, 10, 2)], {1: (10, 2), 2: (10, 1)}) is Placement.PLACED
    assert outcome([kind(1, 2, 10, 1), kind(1, 2, 20, 2)], {1: (10, 2), 2: (20, 1)}) is Placement.IMPOSSIBLE


def test_equal_calls_are_interchangeable() -> None:
    assert outcome([kind(1, 9, 3, calls=40)], dict.fromkeys(range(1, 9), (15,))) is Placement.PLACED
    assert outcome([kind(1, 9, 3, calls=40)], {1: (60,), 9: (61,)}) is Placement.IMPOSSIBLE


def test_a_placement_says_how_much_of_the_shift_it_uses() -> None:
    kinds = [
        Kind(first=1, last=8, ended=2, amounts=(10,), calls=1),
        Kind(first=1, last=8, ended=3, amounts=(7,), calls=1),
    ]
    assert place(kinds, {3: (7,), 5: (10,)}, now_s=never).late_min == 3


def test_past_a_bound_nothing_is_decided() -> None:
    kinds = [kind(1, 20, 2 ** (n % 12) * 2 + 2) for n in range(40)]
    billed = {10: (sum(each.amounts[0] for each in kinds[:20]) + 1,), 20: (sum(e.amounts[0] for e in kinds[20:]) - 1,)}
    assert place(kinds, billed, now_s=never, nodes_max=2_000).outcome is Placement.NOT_DECIDED
    ticks = iter(range(1_000_000))
    assert place(kinds, billed, now_s=lambda: float(next(ticks)), seconds_max=0.5).outcome is Placement.NOT_DECIDED


kinds_strategy = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=7
).map(lambda made: [kind(first, first + more, a, b) for first, more, a, b in made])


@settings(max_examples=300, deadline=None)
@given(kinds_strategy, st.lists(st.integers(0, 3), min_size=7, max_size=7), st.integers(-1, 1), st.integers(0, 8))
def test_the_search_agrees_with_brute_force(kinds: list[Kind], late: list[int], spoil: int, where: int) -> None:
    billed: dict[int, tuple[int, ...]] = {}
    for each, shift in zip(kinds, late, strict=False):
        minute = min(each.last, each.first + shift)
        before = billed.get(minute, (0, 0))
        billed[minute] = (before[0] + each.amounts[0], before[1] + each.amounts[1])
    spoilt = billed.get(where, (0, 0))
    billed[where] = (max(0, spoilt[0] + spoil), spoilt[1])
    expected = Placement.PLACED if by_force(kinds, billed) else Placement.IMPOSSIBLE
    assert outcome(kinds, billed) is expected
