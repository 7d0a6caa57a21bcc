"""What a certificate holds of a key beyond one chain: which names are one model, and whether its bill can be seen.

Facts of a key are learned from all of its calls and reads, and one certificate holds a chain of them. So it carries the
names that the key's calls have and those that its good reads ever showed, from which the pairs follow again; a good
read that showed tokens, where the chain's own reads show none; and, as they are, the facts that only other chains can
prove (`renamed_holds`, `optional`, what models answered as). What of them the chain itself denies is said. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..data.call import Standing
from .bucket import UsageEndpoint
from .certified import CertifiedCall
from .chain import KeyFacts, settled_by
from .facts import ModelUse, key_facts, uses_of
from .pair import ModelPair, PairedBy
from .unit import BillRow, BookRow

Billed = tuple[UsageEndpoint, str]
"""A usage endpoint and a model that it showed tokens for."""


def facts_record(uses: Iterable[ModelUse], billed: Iterable[Billed], facts: KeyFacts) -> dict[str, Any]:
    """The facts of a key as a document has them."""
    return {
        "uses": _uses_record(uses),
        "billed": _billed_record(billed),
        "renamed_holds": facts.renamed_holds,
        "optional": dict(facts.optional),
    }


def _uses_record(uses: Iterable[ModelUse]) -> list[dict[str, Any]]:
    told = {
        (str(use.usage_endpoint), str(use.model), str(use.standing), tuple(sorted(use.models))): use for use in uses
    }
    return [
        {
            "usage_endpoint": use.usage_endpoint,
            "standing": str(use.standing),
            "model": use.model,
            "models": sorted(use.models),
        }
        for _, use in sorted(told.items(), key=lambda each: each[0])
    ]


def _billed_record(billed: Iterable[Billed]) -> list[dict[str, str]]:
    return [{"usage_endpoint": str(endpoint), "model": model} for endpoint, model in sorted(set(billed))]


def answers_record(calls: Iterable[CertifiedCall], answered: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    """What the models answered as that were asked for in calls without an answer."""
    asked = {call.request_model for call in calls if call.response_model is None}
    return {model: sorted(answered[model]) for model in sorted(m for m in asked if m is not None) if model in answered}


def answers_of(
    told: Mapping[str, Sequence[str]], calls: Sequence[CertifiedCall]
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """What models answered as, and in words what the calls deny of it."""
    answered = {model: frozenset(names) for model, names in told.items()}
    problems = []
    if answers_record(calls, answered).keys() != answered.keys():
        problems.append("What a model answered as is told of one that no call without an answer asked for.")
    asked = {call.request_model for call in calls if call.response_model is None}
    seen = {
        (call.request_model, call.response_model)
        for call in calls
        if call.request_model in asked and call.response_model not in (None, call.request_model)
    }
    if any(response not in answered.get(str(request), ()) for request, response in seen):
        problems.append("A call shows a model to have answered under a name that is not told.")
    return answered, problems


def facts_of(
    told: Mapping[str, Any], *, rows: Sequence[BookRow], bill: Iterable[BillRow]
) -> tuple[KeyFacts, list[str]]:
    """The facts of a key, and in words what does not follow from the chain, or is denied by it.

    `rows`: the book of the chain. `bill`: every row of the good reads in the document that were made of this key.
    """
    uses = [
        ModelUse(
            usage_endpoint=use["usage_endpoint"],
            model=use["model"],
            models=frozenset(use["models"]),
            standing=Standing(use["standing"]),
        )
        for use in told["uses"]
    ]
    billed = [(UsageEndpoint(each["usage_endpoint"]), each["model"]) for each in told["billed"]]
    shown = [row for row in bill if not row.empty]
    problems = []
    if told["uses"] != _uses_record(uses) or told["billed"] != _billed_record(billed):
        problems.append("The names of the key's models are not told once each and in order.")
    if {_name(use) for use in uses_of(rows)} - {_name(use) for use in uses}:
        problems.append("A call has a model that the key is not said to have used.")
    if {(row.usage_endpoint, row.model) for row in shown if not row.batch} - set(billed):
        problems.append("A page shows a model that the key is not said to have been billed for.")
    facts = key_facts(uses=uses, billed=billed, proven=bool(shown))
    renamed_holds, optional = told["renamed_holds"], told["optional"]
    if renamed_holds not in (True, False) or any(billed not in (True, False) for billed in optional.values()):
        raise TypeError("a fact that is neither true nor false")
    if renamed_holds and not any(pair.paired_by is PairedBy.RENAMED for pair in facts.pairs):
        problems.append("A renaming is said to hold, and no name was renamed.")
    if set(optional) - settled_by(rows):
        problems.append("It is told whether optional amounts are billed that no call here has.")
    return replace(facts, renamed_holds=bool(renamed_holds), optional=dict(optional)), problems


def _name(use: ModelUse) -> tuple[object, ...]:
    """What the use of a name in a book must have in common with one that is told of the key."""
    return use.usage_endpoint, use.standing, use.model, use.models if use.standing is Standing.UNKNOWN else None


def pair_record(pair: ModelPair) -> dict[str, Any]:
    """The names that one model has on the two sides, as a document has them."""
    return {
        "usage_endpoint": pair.usage_endpoint,
        "book_models": sorted(pair.book_models, key=lambda name: name or ""),
        "bill_models": sorted(pair.bill_models),
        "paired_by": pair.paired_by,
    }
