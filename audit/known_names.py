"""The names of models that a ledger knows: what calls asked for, what they were answered as, and what was billed.

Answers of `audit_answers.sql`, `audit_models.sql` and `audit_billed_models.sql`, put together with those of the past
where only what came later is asked for. Nothing is paired here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from ..data.call import Standing
from .bucket import UsageEndpoint
from .facts import ModelUse

if TYPE_CHECKING:
    from .questions import Asking

FOR_EVER_US = 10_000_000_000_000_000
"""After all that a ledger may tell of."""


def answers(asked: Asking) -> dict[str, frozenset[str]]:
    """What each model that was asked for answered as, where it was another name."""
    found: dict[str, set[str]] = defaultdict(set)
    for request_model, response_model in answer_rows(asked):
        found[request_model].add(response_model)
    return {request_model: frozenset(names) for request_model, names in found.items()}


def answer_rows(asked: Asking, *, until_us: int = FOR_EVER_US) -> list[tuple[str, str]]:
    """What each model that was asked for answered as, by calls begun before an instant; as the ledger has it."""
    rows = [(asked_for, answered) for asked_for, answered in asked.rows("audit_answers", {"until_us": until_us})]
    return rows if asked.past is None else list(dict.fromkeys([*asked.past.answers, *rows]))


ModelRow: TypeAlias = tuple[str, str | None, str, str | None, str | None]
"""Key id, usage endpoint, standing, response_model, request_model."""


def model_rows(asked: Asking, *, until_us: int = FOR_EVER_US) -> list[ModelRow]:
    """The names of models that the creates of each key have, begun before an instant; as the ledger has it."""
    rows: list[ModelRow] = [
        (key, endpoint, standing, answered, asked_for)
        for key, endpoint, standing, answered, asked_for in asked.rows("audit_models", {"until_us": until_us})
    ]
    return rows if asked.past is None else list(dict.fromkeys([*asked.past.models, *rows]))


def billed_rows(asked: Asking) -> list[tuple[str, str, str, bool]]:
    """The names that good reads of each key ever showed tokens for, and whether never but as batch."""
    found = {} if asked.past is None else {(*name,): batch_only for *name, batch_only in asked.past.billed}
    for *name, batch_only in asked.rows("audit_billed_models", asked.since):
        found[(*name,)] = bool(batch_only) and found.get((*name,), True)
    return [(key, endpoint, model, batch_only) for (key, endpoint, model), batch_only in sorted(found.items())]


def model_uses(asked: Asking, answered: Mapping[str, frozenset[str]]) -> dict[str, list[ModelUse]]:
    """The names of models that the creates of each key have."""
    found: dict[str, list[ModelUse]] = defaultdict(list)
    for api_key_id, usage_endpoint, standing, response_model, request_model in model_rows(asked):
        model, models = model_names(response_model, request_model, answered)
        found[api_key_id].append(
            ModelUse(usage_endpoint=usage_endpoint, model=model, models=models, standing=Standing(standing))
        )
    return found


def model_names(
    response_model: str | None, request_model: str | None, answered: Mapping[str, frozenset[str]]
) -> tuple[str | None, frozenset[str]]:
    """The model a call stands under, and every name that it may be billed under."""
    if response_model is not None:
        return response_model, frozenset()
    if request_model is None:
        return None, frozenset()
    learned = answered.get(request_model, frozenset())
    model = next(iter(learned)) if len(learned) == 1 else request_model
    return model, learned | {request_model}


def billed_models(asked: Asking) -> dict[str, list[tuple[UsageEndpoint, str, bool]]]:
    """The names that good reads of each key ever showed tokens for; True: never but as batch."""
    found: dict[str, list[tuple[UsageEndpoint, str, bool]]] = defaultdict(list)
    known = set(UsageEndpoint)
    for api_key_id, usage_endpoint, model, batch_only in billed_rows(asked):
        if usage_endpoint in known:
            found[api_key_id].append((UsageEndpoint(usage_endpoint), model, batch_only))
    return found
