"""What is learned of a key from all of it, and never from one chain alone."""

from __future__ import annotations

from audit_chain import MODEL, OTHER_MODEL, Tokens, billed, booked, chained, found, pictured, unknown

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.chain import Chain, KeyFacts
from submeter.audit.facts import guesses, key_facts, optional_facts, renaming_holds, uses_of
from submeter.audit.finding import ChainFinding
from submeter.audit.pair import PairedBy
from submeter.audit.unit import BillRow, BookRow
from submeter.data.call import Standing

COMPLETIONS, IMAGES = UsageEndpoint.COMPLETIONS, UsageEndpoint.IMAGES
NEW = "house-model-2"


def facts_of(rows: list[BookRow], billed_names: set[tuple[UsageEndpoint, str]]) -> KeyFacts:
    return key_facts(uses=uses_of(rows), billed=billed_names, proven=True)


def kinds(facts: KeyFacts) -> dict[str | None, PairedBy]:
    return {pair.model: pair.paired_by for pair in facts.pairs}


# Pairs of a key


def test_names_are_paired_by_all_calls_of_the_key() -> None:
    facts = facts_of([booked(model="gpt-4o-mini"), booked(1050, model=OTHER_MODEL)], {(COMPLETIONS, MODEL)})
    assert kinds(facts) == {MODEL: PairedBy.ALIAS, OTHER_MODEL: PairedBy.BOOK_ONLY}
    assert not guesses(facts)


def test_a_guess_is_a_pair_by_renaming_that_does_not_hold_yet() -> None:
    rows, shown = [booked(model="house-model")], {(COMPLETIONS, NEW)}
    assert guesses(facts_of(rows, shown))
    assert not guesses(key_facts(uses=uses_of(rows), billed=shown, proven=True, renamed_holds=True))


def test_a_renamed_model_is_found_beside_an_unknown_call_of_another_model() -> None:
    rows = [booked(model="house-model"), unknown(model="gpt-4o-mini", models=frozenset({"gpt-4o-mini"}))]
    assert kinds(facts_of(rows, {(COMPLETIONS, NEW), (COMPLETIONS, MODEL)})) == {
        NEW: PairedBy.RENAMED,
        MODEL: PairedBy.BILL_ONLY,
    }


def test_an_image_models_tokens_are_no_name_that_is_left_over() -> None:
    rows = [booked(model="house-model"), pictured()]
    shown = {(COMPLETIONS, NEW), (COMPLETIONS, "gpt-image-1"), (IMAGES, "gpt-image-1")}
    pairs = {(pair.usage_endpoint, pair.model): pair.paired_by for pair in facts_of(rows, shown).pairs}
    assert pairs == {
        (COMPLETIONS, NEW): PairedBy.RENAMED,
        (COMPLETIONS, "gpt-image-1"): PairedBy.EQUAL,
        (IMAGES, "gpt-image-1"): PairedBy.EQUAL,
    }


def test_a_key_serves_the_models_of_its_counted_unknown_and_optional_calls_and_no_uncovered_one() -> None:
    rows = [
        booked(),
        unknown(model=None, models=frozenset({"sol", "sol-2025-01-01"})),
        booked(model="warm", standing=Standing.OPTIONAL),
        booked(model=OTHER_MODEL, standing=Standing.UNCOVERED, usage_endpoint="fine_tuning"),
        booked(model="refused", standing=Standing.UNBILLED),
    ]
    assert facts_of(rows, set()).serves == {
        ("completions", "gpt-4o-mini"),
        ("completions", "sol"),
        ("completions", "warm"),
    }


# Renaming


def renamed(tokens: Tokens, shown: Tokens | None = None) -> ChainFinding:
    return found([booked(tokens=tokens)], [billed(tokens=shown or tokens, model=NEW)])


def test_a_renaming_holds_once_three_calls_of_distinct_tokens_have_closed_under_it() -> None:
    three = [renamed((100 + number, 0, 1)) for number in range(3)]
    assert renaming_holds(three)
    assert not renaming_holds(three[:2])
    assert not renaming_holds([*three[:2], three[1], renamed((101, 0, 1))])
    assert not renaming_holds([*three[:2], renamed((102, 0, 1), (103, 0, 1))])


def test_equal_calls_are_no_distinct_ones_where_one_does_not_tell_its_cached_tokens() -> None:
    """Found by the referee (seed 3076974): three calls that nobody billed, beside three as large past the meter."""
    silent = found(
        [booked(tokens=(100, 0, 1), cached_input_tokens=None, cached_silent=1)], [billed(tokens=(100, 0, 1), model=NEW)]
    )
    assert silent.closed
    assert not renaming_holds([renamed((100, 0, 1)), renamed((101, 0, 1)), silent])
    assert renaming_holds([renamed((101, 0, 1)), renamed((102, 0, 1)), silent])


def test_calls_that_are_paired_by_name_prove_no_renaming() -> None:
    assert not renaming_holds(
        [found([booked(tokens=(each, 0, 1))], [billed(tokens=(each, 0, 1))]) for each in (1, 2, 3)]
    )


def test_a_chain_that_goes_on_proves_no_renaming() -> None:
    early = [
        found([booked(tokens=(each, 0, 1))], [billed(tokens=(each, 0, 1), model=NEW)], read_until=1005)
        for each in (1, 2, 3)
    ]
    assert not renaming_holds(early)


# Optional amounts


def warmed(amount: int, *, is_billed: bool, hidden: int = 0) -> Chain:
    warm = booked(1002, (amount, 0, 0), standing=Standing.OPTIONAL, optional_class="warm_up")
    bill: list[BillRow] = [billed()]
    if is_billed:
        bill.append(billed(1002, (amount, 0, 0)))
    if hidden:
        bill.append(billed(1003, (hidden, 0, 0)))
    return chained([booked(), warm], bill)


def test_a_class_of_optional_amounts_is_a_fact_after_three_whole_chains_of_distinct_tokens() -> None:
    for is_billed in (True, False):
        three = [warmed(30 + number, is_billed=is_billed) for number in range(3)]
        assert optional_facts(three) == {"warm_up": is_billed}
        assert optional_facts(three[:2]) == {}
        assert optional_facts([*three[:2], three[0]]) == {}


def drawn(amount: int, *others: BookRow) -> Chain:
    """A chain with a call for images that told its tokens, which are billed."""
    told = pictured(1002, input_tokens=amount, output_tokens=4160)
    bill = [
        billed(minute, (0, 0, 0), usage_endpoint=IMAGES, model="gpt-image-1", images=1)
        for minute in (1002, *(row.end_minute for row in others))
    ]
    return chained([told, *others], [*bill, billed(1002, (amount, 0, 4160), model="gpt-image-1")])


def test_a_chain_in_which_tokens_are_set_aside_says_nothing_of_those_that_were_told() -> None:
    assert optional_facts([drawn(30 + number) for number in range(3)]) == {"image_tokens": True}
    assert optional_facts([drawn(30 + number, pictured(1002)) for number in range(3)]) == {}


def test_tokens_of_nothing_beside_a_bill_that_is_set_aside_are_no_proof_that_tokens_are_not_billed() -> None:
    """Calls of one model told zeros, and those of another told nothing and were billed: either may hold."""

    def chain(amount: int, *, told: int = 0) -> Chain:
        rows = [
            pictured(1002, model="gpt-image-2", input_tokens=told, output_tokens=0),
            pictured(1002),
        ]
        bill = [
            billed(1002, (0, 0, 0), usage_endpoint=IMAGES, model=model, images=1)
            for model in ("gpt-image-1", "gpt-image-2")
        ]
        return chained(rows, [*bill, billed(1002, (amount, 0, 4160), model="gpt-image-1")])

    assert optional_facts([chain(30 + number) for number in range(3)]) == {}
    assert optional_facts([chain(30 + number, told=40 + number) for number in range(3)]) == {}


def test_a_chain_that_contradicts_leaves_a_class_open() -> None:
    three = [warmed(30 + number, is_billed=True) for number in range(3)]
    assert optional_facts([*three, warmed(40, is_billed=False)]) == {}


def test_a_chain_with_an_error_of_its_own_says_nothing_of_a_class() -> None:
    three = [warmed(30 + number, is_billed=True, hidden=7) for number in range(3)]
    assert optional_facts(three) == {}


def test_a_chain_that_is_not_known_to_its_end_says_nothing_of_a_class() -> None:
    rows = list(warmed(30, is_billed=True).rows)
    early = [chained(rows, [billed(), billed(1002, (30, 0, 0))], read_until=1005) for _ in range(3)]
    assert optional_facts(early) == {}
