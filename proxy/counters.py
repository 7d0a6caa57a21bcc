"""What a proxy counts of the calls that have ended since it began, for a scraper.

Tokens are those that answers to creates reported as they passed. The ledger's sums are the ones to publish: it knows as
well what a later read told, and what may not be billed. Labels are few: a model's name may come from a stranger, so
after `MODELS_MAX` the others are one. Never here: how it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..data.call import DISTRUSTED, Operation

Key = TypeVar("Key")

MODELS_MAX = 100
OTHER = "(other)"
TOKENS = {
    "input": "input_tokens",
    "cached_input": "cached_input_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}
"""Types of tokens, each as the settle line calls it. Cached ones are inside input, reasoning inside output."""
CallKey = tuple[str, str, str, str]
"""Framework, model, operation and outcome; empty: not known."""
TokenKey = tuple[str, str, str]
"""Framework, model and type."""
_COLUMNS = tuple(TOKENS.values())
_DISTRUSTED = frozenset(DISTRUSTED)


class Counters:
    """Counts by framework and model. For the lane's thread alone."""

    def __init__(self) -> None:
        self._models: dict[tuple[str | None, str | None], _Counted] = {}

    def note(self, line: Mapping[str, Any]) -> None:
        """Count the call of a settle line."""
        model = line.get("framework"), line.get("response_model") or line.get("request_model")
        counted = self._models.get(model)
        if counted is None:
            if len(self._models) >= MODELS_MAX:
                model = model[0] if any(model[0] == known for known, _ in self._models) else OTHER, OTHER
            counted = self._models.setdefault(model, _Counted())
        operation = line["operation"]
        call = operation, line["outcome"]
        counted.calls[call] = counted.calls.get(call, 0) + 1
        if operation == Operation.CREATE and not ((flags := line.get("flags")) and _DISTRUSTED.intersection(flags)):
            tokens = counted.tokens
            for name in _COLUMNS:
                told = line.get(name)
                if told is not None:
                    tokens[name] = tokens.get(name, 0) + told

    @property
    def calls(self) -> dict[CallKey, int]:
        """How many calls there were."""
        return {
            (framework or "", model or "", str(operation), str(outcome)): calls
            for (framework, model), counted in self._models.items()
            for (operation, outcome), calls in counted.calls.items()
        }

    @property
    def tokens(self) -> dict[TokenKey, int]:
        """How many tokens there were; those that no answer told are not there."""
        return {
            (framework or "", model or "", kind): counted.tokens[name]
            for (framework, model), counted in self._models.items()
            for kind, name in TOKENS.items()
            if name in counted.tokens
        }


def add_counts(counts: dict[Key, int], more: Mapping[Key, int]) -> None:
    """Add to each count what another has of it."""
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


class _Counted:
    """What was counted of one model."""

    __slots__ = ("calls", "tokens")

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        self.tokens: dict[str, int] = {}
