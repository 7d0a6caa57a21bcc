"""Placement against brute force, and its bounds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from submeter.audit.placement import Kind, Placed, Placement, holds, place

Billed = dict[int, tuple[int, ...]]


def never() -> float:
    return 0.0


def kind(first: int, last: int, *amounts: int, calls: int = 1) -> Kind:
    return Kind(first=first, last=last, amounts=amounts, calls=calls)


def outcome(kinds: list[Kind], billed: Billed) -> Placement:
    return place(kinds, billed, now_s=never).outcome


def by_force(kinds: list[Kind], billed: dict[int, tuple[int, ...]]) -> bool:
    """Whether any way to put every call into one of its minutes leaves nothing over: all ways, call by call.

    What is left of the bill is all that later calls can see of earlier ones, so ways that leave the same are one; and a
    way that leaves something in a minute before the begin of every later call is none.
    """
    minutes = sorted(billed)
    calls = sorted((each.first, each.last, each.amounts) for each in kinds for _ in range(each.calls))
    ways = {tuple(billed[minute] for minute in minutes)}
    for first, last, amounts in calls:
        if any(amounts):
            past = sum(minute < first for minute in minutes)
            ways = {
                (*left[:place], taken, *left[place + 1 :])
                for left in ways
                if not any(any(each) for each in left[:past])
                for place, minute in enumerate(minutes)
                if first <= minute <= last
                if min(taken := tuple(have - need for have, need in zip(left[place], amounts, strict=True))) >= 0
            }
    return any(not any(any(each) for each in left) for left in ways)


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


def made(rows: list[tuple[int, int, int, int]]) -> list[Kind]:
    return [kind(first, first + more, a, b) for first, more, a, b in rows]


def some(amount: st.SearchStrategy[int]) -> st.SearchStrategy[list[Kind]]:
    """Up to 12 calls in 10 minutes."""
    call = st.tuples(st.integers(0, 6), st.integers(0, 3), amount, amount)
    return (st.lists(call, max_size=12) | st.lists(call, min_size=9, max_size=12)).map(made)


calls_of = st.sampled_from([some(st.integers(0, 4)), some(st.sampled_from([0, 1, 5, 6, 11]))]).flatmap(
    lambda each: each
)
lateness = st.lists(st.integers(0, 3), min_size=12, max_size=12)
moved = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1), st.integers(0, 3))


def billed_somehow(kinds: list[Kind], late: list[int], moves: list[tuple[int, int, int, int]]) -> Billed:
    """A bill of these calls, with amounts moved from one minute to another: `to` 0 takes them away."""
    billed = {minute: [0, 0] for minute in range(10)}
    for each, shift in zip(kinds, late, strict=False):
        for place_of in range(2):
            billed[min(each.last, each.first + shift)][place_of] += each.amounts[place_of]
    for source, to, place_of, amount in moves:
        amount = min(amount, billed[source][place_of])
        billed[source][place_of] -= amount
        if to:
            billed[to][place_of] += amount
    return {minute: (a, b) for minute, (a, b) in billed.items()}


@settings(max_examples=400, deadline=None)
@given(calls_of, lateness, st.lists(moved, max_size=2))
def test_the_search_agrees_with_brute_force_on_up_to_12_calls(
    kinds: list[Kind], late: list[int], moves: list[tuple[int, int, int, int]]
) -> None:
    billed = billed_somehow(kinds, late, moves)
    found = place(kinds, billed, now_s=never)
    assert found.outcome is (Placement.PLACED if by_force(kinds, billed) else Placement.IMPOSSIBLE)
    if not moves:
        assert found.outcome is Placement.PLACED
    if found.outcome is Placement.PLACED:
        assert_is_a_placement(kinds, billed, found)


def assert_is_a_placement(kinds: list[Kind], billed: Billed, found: Placed) -> None:
    """Put the calls where the witness says, one by one, and compare every bucket."""
    left = [each.calls if any(each.amounts) else 0 for each in kinds]
    sums = {minute: [0, 0] for minute in billed}
    for put in found.witness:
        left[put.kind] -= put.calls
        assert kinds[put.kind].first <= put.minute <= kinds[put.kind].last
        for place_of in range(2):
            sums[put.minute][place_of] += put.calls * kinds[put.kind].amounts[place_of]
    assert left == [0] * len(kinds)
    assert {minute: tuple(each) for minute, each in sums.items()} == billed


@settings(max_examples=150, deadline=None)
@given(calls_of, lateness, st.lists(moved, max_size=2), st.integers(0, 60))
def test_nothing_is_left_undecided_but_past_the_bound_and_nothing_is_decided_otherwise(
    kinds: list[Kind], late: list[int], moves: list[tuple[int, int, int, int]], nodes_max: int
) -> None:
    billed = billed_somehow(kinds, late, moves)
    whole = place(kinds, billed, now_s=never)
    bounded = place(kinds, billed, now_s=never, nodes_max=nodes_max)
    assert whole.outcome is not Placement.NOT_DECIDED
    if bounded.outcome is Placement.NOT_DECIDED:
        assert bounded.nodes > nodes_max
        assert bounded.witness == ()
    else:
        assert bounded.outcome is whole.outcome
    assert place(kinds, billed, now_s=never, nodes_max=whole.nodes).outcome is whole.outcome


def test_a_witness_that_was_changed_does_not_hold() -> None:
    kinds = [kind(1, 3, 10, calls=2), kind(2, 4, 7), kind(1, 4, 0)]
    billed = {2: (10,), 3: (17,), 4: (0,)}
    witness = place(kinds, billed, now_s=never).witness
    assert holds(kinds, billed, witness)
    assert not holds(kinds, billed, witness[1:])
    assert not holds(kinds, billed, [*witness, witness[0]])
    assert not holds(kinds, billed, [replace(witness[0], minute=witness[0].minute + 1), *witness[1:]])
    assert not holds(kinds, {**billed, 4: (1,)}, witness)
    outside = [replace(each, last=1) for each in kinds]
    assert not holds(outside, billed, witness)
    assert holds([], {}, [])
