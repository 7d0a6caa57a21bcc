"""Two JSON schemas in one, as far as that can be said; what cannot be said is found by the check on the value."""

from __future__ import annotations

from typing import Any

from .unsatisfiable import Unsatisfiable


def merged(one: Any, other: Any) -> Any:
    """A schema that asks for what both ask for, as far as can be said in one; the check at the end knows the rest."""
    if one is False or other is False:
        return False
    if not isinstance(one, dict):
        return other if one in (True, None) else one
    if not isinstance(other, dict):
        return one if other in (True, None) else other
    both: dict[str, Any] = dict(one)
    for name, value in other.items():
        both[name] = _joined(name, both[name], value) if name in both else value
    return both


def _joined(name: str, one: Any, other: Any) -> Any:
    match name:
        case "properties" | "patternProperties":
            if isinstance(one, dict) and isinstance(other, dict):
                shared = {key: merged(value, other.get(key, True)) for key, value in one.items()}
                return {**shared, **{key: value for key, value in other.items() if key not in one}}
        case "required":
            if isinstance(one, list) and isinstance(other, list):
                return [*one, *(each for each in other if each not in one)]
        case "enum":
            if isinstance(one, list) and isinstance(other, list):
                return [each for each in one if each in other]
        case "type":
            return _both_types(one, other)
        case "minimum" | "minLength" | "minItems" | "minProperties" | "exclusiveMinimum":
            return max(one, other) if _numbers(one, other) else other
        case "maximum" | "maxLength" | "maxItems" | "maxProperties" | "exclusiveMaximum":
            return min(one, other) if _numbers(one, other) else other
        case "items" | "additionalProperties" | "contains":
            return merged(one, other)
        case "allOf":
            if isinstance(one, list) and isinstance(other, list):
                return [*one, *other]
    return other


def _both_types(one: Any, other: Any) -> Any:
    first, second = (given if isinstance(given, list) else [given] for given in (one, other))
    shared = [kind for kind in first if kind in second]
    if not shared and "integer" in (*first, *second) and "number" in (*first, *second):
        return "integer"
    if not shared:
        raise Unsatisfiable(f"nothing is both {first} and {second}")
    return shared


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
