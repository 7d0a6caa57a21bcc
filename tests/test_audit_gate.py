"""Gates hold the truth: wherever calls were billed, the true error before each minute lies in its gate."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from submeter.audit.gate import Borders, Gate, Item, Vector, cut_to, make_borders
from submeter.audit.least import least_amounts

START, MINUTES = 100, 12
UNTIL = START + MINUTES


@dataclass(kw_only=True)
class Made:
    """A chain whose every call was placed by us."""

    width: int
    items: list[Item] = field(default_factory=list)
    billed: dict[int, Vector] = field(default_factory=dict)
    errors: list[tuple[int, Vector]] = field(default_factory=list)
    """Minute and tokens, of either sign."""

    def bill(self, minute: int, tokens: Vector) -> None:
        have = self.billed.get(minute, (0,) * self.width)
        self.billed[minute] = tuple(a + b for a, b in zip(have, tokens, strict=True))

    def error_before(self, border: int) -> Vector:
        return tuple(sum(tokens[i] for minute, tokens in self.errors if minute < border) for i in range(self.width))

    def borders(self, until: int = UNTIL) -> Borders:
        shown = {minute: tokens for minute, tokens in self.billed.items() if minute < until}
        items = [item for item in self.items if item.first < until]
        return make_borders(start=START, until=until, width=self.width, billed=shown, items=items)


def made(rng: random.Random, *, sign: int, loose: bool = False, grouped: bool = False) -> Made:
    """Calls in random minutes, some hidden (sign +1) or not billed (sign -1)."""
    chain = Made(width=rng.choice((1, 2, 3)))
    for _ in range(rng.randint(1, 9)):
        first = rng.randrange(START, UNTIL)
        last = rng.randrange(first, UNTIL)
        end = rng.randint(first, last)
        tokens = tuple(rng.choice((1, 2, 3, 100)) for _ in range(chain.width))
        calls = rng.randint(1, 3) if grouped else 1
        apart = not grouped or rng.random() < 0.5
        part = loose and rng.random() < 0.5
        whole = tuple(each * calls for each in tokens)
        item = Item(
            first=first,
            end=end,
            last=last,
            amounts=tokens if apart else whole,
            calls=calls,
            apart=apart,
            loose=part,
        )
        chain.items.append(item)
        for _ in range(calls):
            if sign < 0 and rng.random() < 0.3:
                chain.errors.append((end, tuple(-each for each in tokens)))
            elif part:
                some = tuple(rng.randint(0, each) for each in tokens)
                chain.bill(rng.randint(first, last), some)
                chain.bill(rng.randint(first, last), tuple(a - b for a, b in zip(tokens, some, strict=True)))
            else:
                chain.bill(rng.randint(first, last), tokens)
    for _ in range(rng.randint(0, 3) if sign > 0 else 0):
        minute = rng.randrange(START, UNTIL)
        tokens = tuple(rng.choice((1, 2, 3, 100)) for _ in range(chain.width))
        chain.bill(minute, tokens)
        chain.errors.append((minute, tokens))
    return chain


def holds(gate: Gate, error: Vector) -> bool:
    inside = all(a <= e <= b for a, e, b in zip(gate.low, error, gate.high, strict=True))
    return inside and (gate.points is None or error in gate.points)


@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize(("loose", "grouped"), [(False, False), (True, False), (False, True)])
def test_the_true_error_before_each_minute_lies_in_its_gate(sign: int, loose: bool, grouped: bool) -> None:
    rng = random.Random(sign + 10 * loose + 100 * grouped)
    for _ in range(150):
        chain = made(rng, sign=sign, loose=loose, grouped=grouped)
        for until in (UNTIL, rng.randint(START + 1, UNTIL)):
            borders = chain.borders(until)
            for step, gate in enumerate(borders.gates):
                assert holds(gate, chain.error_before(START + step))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("loose", [False, True])
def test_cut_to_the_total_and_listed_the_gates_still_hold_the_truth_where_errors_have_one_sign(
    sign: int, loose: bool
) -> None:
    rng = random.Random(7 * sign + loose)
    listed = 0
    for _ in range(250):
        chain = made(rng, sign=sign, loose=loose)
        borders = chain.borders()
        end = chain.error_before(UNTIL)
        assert borders.gates[-1].low == borders.gates[-1].high == end
        assert least_amounts(borders) == tuple(map(abs, end))
        gates = cut_to(borders, end)
        listed += sum(gate.points is not None for gate in gates)
        for step, gate in enumerate(gates):
            assert holds(gate, chain.error_before(START + step))
    assert listed


def test_an_open_call_may_have_used_anything_that_was_billed_since_it_began() -> None:
    rng = random.Random(11)
    for _ in range(100):
        chain = made(rng, sign=0)
        first = rng.randrange(START, UNTIL - 1)
        for _ in range(2):
            chain.bill(rng.randrange(first, UNTIL), (rng.randint(1, 50),) * chain.width)
        chain.items.append(
            Item(first=first, end=UNTIL + 5, last=UNTIL + 9, amounts=(0,) * chain.width, loose=True, open=True)
        )
        for step, gate in enumerate(chain.borders().gates):
            assert holds(gate, (0,) * chain.width), START + step


def test_a_minute_that_bills_less_than_a_call_cannot_hold_it_and_one_that_is_not_known_can() -> None:
    item = Item(first=START, end=START + 1, last=START + 6, amounts=(10,))
    billed = {START + 2: (10,), START + 4: (9,)}
    gates = make_borders(start=START, until=START + 7, width=1, billed=billed, items=[item]).gates
    assert [gate.high[0] - gate.low[0] for gate in gates] == [0, 0, 10, 0, 0, 0, 0, 0]
    open_end = make_borders(start=START, until=START + 4, width=1, billed={}, items=[item]).gates
    assert [gate.high[0] - gate.low[0] for gate in open_end] == [0, 0, 10, 10, 10]


def test_more_than_what_a_minute_bills_cannot_have_been_carried_into_it() -> None:
    items = [Item(first=START, end=START + 1, last=START + 2, amounts=(10,)) for _ in range(3)]
    gates = make_borders(start=START, until=START + 4, width=1, billed={START + 2: (15,)}, items=items).gates
    assert (gates[2].low, gates[2].high) == ((-30,), (-15,))


def test_a_list_with_too_many_sums_is_the_box() -> None:
    items = [Item(first=START, end=START, last=START + 1, amounts=(2**each,)) for each in range(9)]
    billed = {START: (2**9,), START + 1: (2**9 - 1,)}
    borders = make_borders(start=START, until=START + 2, width=1, billed=billed, items=items)
    middle = cut_to(borders, (2**9,))[1]
    assert middle.points is None
    assert (middle.low, middle.high) == ((1,), (2**9,))
    few = make_borders(start=START, until=START + 2, width=1, billed=billed, items=items[5:])
    points = cut_to(few, few.gates[-1].low)[1].points
    assert points is not None
    assert len(points) == 16
