"""What is learned of a key from all of it: its pairs of names, and what the provider bills of optional amounts.

A fact is never chosen for one chain. Two names that are paired only because no other is left hold once three calls of
distinct tokens have closed under them; a class of optional amounts is billed, or is not, once three whole chains with
distinct tokens are clean under one book alone and none contradicts.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..data.call import Standing
from .bucket import UsageEndpoint
from .chain import Chain, KeyFacts, classes_of
from .drawn import tells_tokens
from .finding import ChainFinding
from .pair import AsideBecause, ModelPair, PairedBy, pair_models, plain_name, same_model
from .reconcile import judge_chain
from .solve import Solved
from .unit import BookRow, Field

PROOFS_MIN = 3
"""Calls (chains) of distinct tokens that make a guess a fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """One model name that calls of a key have, and their standing."""

    usage_endpoint: str | None
    model: str | None
    models: frozenset[str] = frozenset()
    """Of unknown calls: every name they may be billed under."""
    standing: Standing


def uses_of(rows: Iterable[BookRow]) -> tuple[ModelUse, ...]:
    """The names that rows of a book have."""
    found = [
        ModelUse(usage_endpoint=endpoint, model=model, models=models, standing=standing)
        for endpoint, model, models, standing in {
            (row.usage_endpoint, row.model, row.models, row.standing) for row in rows
        }
    ]
    return tuple(sorted(found, key=repr))


def key_facts(
    *,
    uses: Iterable[ModelUse],
    billed: Iterable[tuple[UsageEndpoint, str]],
    proven: bool,
    renamed_holds: bool = False,
    optional: Mapping[str, bool] | None = None,
) -> KeyFacts:
    """The facts of one key. `billed`: every endpoint and model that its good reads ever showed, batch left out."""
    uses, billed = list(uses), set(billed)
    serves = frozenset(
        (use.usage_endpoint, plain_name(name))
        for use in uses
        if use.standing in (Standing.COUNTED, Standing.UNKNOWN, Standing.OPTIONAL)
        for name in {use.model, *use.models}
        if name is not None
    )
    elsewhere = {
        plain_name(use.model)
        for use in uses
        if use.model is not None
        and (use.standing is Standing.UNCOVERED or use.usage_endpoint == UsageEndpoint.IMAGES)
        and (UsageEndpoint.COMPLETIONS, plain_name(use.model)) not in serves
    }
    pairs: list[ModelPair] = []
    for endpoint in UsageEndpoint:
        here = [use for use in uses if use.usage_endpoint == endpoint]
        names = {model for each, model in billed if each is endpoint}
        counted = {use.model for use in here if use.standing is Standing.COUNTED}
        optional_only = {use.model for use in here if use.standing is Standing.OPTIONAL} - counted
        own = pair_models(
            endpoint,
            counted=counted | optional_only,
            optional=optional_only,
            billed={
                name for name in names if not (endpoint is UsageEndpoint.COMPLETIONS and plain_name(name) in elsewhere)
            },
            explained={
                name
                for use in uses
                # What a call to an endpoint that is not in the table used may be billed under any of them.
                if use.standing is Standing.UNKNOWN and use.usage_endpoint in (None, endpoint)
                for name in {use.model, *use.models}
                if name is not None
            },
        )
        pairs += own
        taken = {name for pair in own for name in (*pair.bill_models, *pair.book_models)}
        left = names - taken
        if endpoint is UsageEndpoint.COMPLETIONS:
            drawn = _drawn_pairs({use.model for use in uses if draws(use)} - taken, left)
            pairs += drawn
            left -= {name for pair in drawn for name in pair.bill_models}
        # A name of a model that another endpoint serves pairs with nothing: it is set aside, or it is an excess.
        pairs += [
            ModelPair(
                usage_endpoint=endpoint,
                book_models=frozenset(),
                bill_models=frozenset({name}),
                paired_by=PairedBy.BILL_ONLY,
            )
            for name in sorted(left)
        ]
    return KeyFacts(
        pairs=tuple(pairs), renamed_holds=renamed_holds, serves=serves, proven=proven, optional=dict(optional or {})
    )


def draws(use: ModelUse) -> bool:
    """Whether a name is that of counted calls for images, whose tokens may be billed as completions."""
    return use.usage_endpoint == UsageEndpoint.IMAGES and use.standing is Standing.COUNTED


def _drawn_pairs(drawn: Iterable[str | None], billed: Iterable[str]) -> list[ModelPair]:
    """The names of image models, whose tokens may be billed as completions; by equal and alias names alone."""
    pairs: list[ModelPair] = []
    groups: dict[str, set[str]] = {}
    for model in drawn:
        if model is not None:
            groups.setdefault(plain_name(model), set()).add(model)
    for models in (groups[name] for name in sorted(groups)):
        theirs = {name for name in billed if any(same_model(name, model) for model in models)}
        pairs.append(
            ModelPair(
                usage_endpoint=UsageEndpoint.COMPLETIONS,
                book_models=frozenset(models),
                bill_models=frozenset(theirs),
                paired_by=PairedBy.BOOK_ONLY if not theirs else PairedBy.EQUAL if theirs == models else PairedBy.ALIAS,
            )
        )
    return pairs


def guesses(facts: KeyFacts) -> bool:
    """Whether a pair of the key was found by renaming, and does not hold yet."""
    return not facts.renamed_holds and any(pair.paired_by is PairedBy.RENAMED for pair in facts.pairs)


def renaming_holds(found: Iterable[ChainFinding]) -> bool:
    """Whether calls of enough distinct tokens have closed, without any error, under the pair found by renaming."""
    tokens: set[tuple[int, ...]] = set()
    for each in found:
        if each.closed:
            for solved in each.solved:
                if solved.guessed and solved.clean and solved.bill:
                    tokens |= {_one_call(row, solved) for row in solved.rows if row.apart}
    return len(tokens) >= PROOFS_MIN


def _one_call(row: BookRow, solved: Solved) -> tuple[int, ...]:
    """What one call used, cached tokens left out: a chain in which they are not told would make equal calls differ."""
    return tuple(row.amount(field) // row.calls for field in solved.fields if field is not Field.CACHED)


def optional_facts(chains: Sequence[Chain]) -> dict[str, bool]:
    """What whole known chains say of each class of optional amounts; a class that they leave open is not here."""
    votes: dict[str, dict[bool, set[tuple[int, ...]]]] = {}
    for chain in chains:
        classes = classes_of(chain.rows)
        if len(classes) != 1:
            continue
        (name,) = classes
        found = {billed: _judged_if(chain, name, billed=billed) for billed in (False, True)}
        if found[False].clean != found[True].clean and not _sets_image_tokens_aside(found[False]):
            tokens = tuple(
                sorted(
                    sum(count or 0 for count in (row.input_tokens, row.output_tokens, row.images))
                    for row in chain.rows
                    if row.standing is Standing.OPTIONAL or tells_tokens(row)
                )
            )
            votes.setdefault(name, {True: set(), False: set()})[found[True].clean].add(tokens)
    return {
        name: bool(said[True])
        for name, said in votes.items()
        if not (said[True] and said[False]) and len(said[True] or said[False]) >= PROOFS_MIN
    }


def _sets_image_tokens_aside(found: ChainFinding) -> bool:
    """Whether tokens of image models are set aside while it is said that they are not billed: nothing speaks for it."""
    return any(because is AsideBecause.IMAGE_TOKENS for because, _ in found.aside)


def _judged_if(chain: Chain, name: str, *, billed: bool) -> ChainFinding:
    facts = KeyFacts(
        pairs=chain.facts.pairs,
        renamed_holds=chain.facts.renamed_holds,
        serves=chain.facts.serves,
        proven=chain.facts.proven,
        optional={**chain.facts.optional, name: billed},
    )
    return judge_chain(
        Chain(
            api_key_id=chain.api_key_id,
            window=chain.window,
            rows=chain.rows,
            gaps=chain.gaps,
            shares=(),
            histories=chain.histories,
            facts=facts,
            waiting=chain.waiting,
            shift_min=chain.shift_min,
            now_us=chain.now_us,
        )
    )
