"""Whether a value satisfies a JSON schema, and if not, why: the check on what `instances` makes.

The keywords of drafts 7 and 2020-12 that real clients send. Annotations and formats decide nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from .unsatisfiable import Unsatisfiable

DEPTH_MAX = 60
"""Steps into a schema; what goes deeper is taken for one that never ends."""
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def problem(schema: Any, value: Any, root: Any, place: str = "$", depth: int = 0) -> str | None:
    """What is wrong with a value; None: it satisfies the schema. `root` is what a `$ref` begins at."""
    return next(problems(schema, value, root, place, depth), None)


def problems(schema: Any, value: Any, root: Any, place: str = "$", depth: int = 0) -> Iterator[str]:
    """Everything that is wrong with a value, in words."""
    if schema is True or schema is None:
        return
    if schema is False:
        yield f"{place}: nothing is allowed here"
        return
    if not isinstance(schema, dict):
        raise Unsatisfiable(f"{place}: a schema is an object or a boolean, not {schema!r}")
    if depth > DEPTH_MAX:
        raise Unsatisfiable(f"{place}: the schema refers to itself without end")
    below = depth + 1
    if "$ref" in schema:
        yield from problems(resolve(schema["$ref"], root), value, root, place, below)
    kinds = types_of(schema, place)
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{place}: {_shown(value)} is no {' or '.join(kinds)}"
        return
    if "const" in schema and not same(schema["const"], value):
        yield f"{place}: {_shown(value)} is not the 'const' {_shown(schema['const'])}"
    if "enum" in schema and not any(same(one, value) for one in _list(schema, "enum", place)):
        yield f"{place}: {_shown(value)} is not in the 'enum'"
    yield from _combined(schema, value, root, place, below)
    if isinstance(value, str):
        yield from _text(schema, value, place)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(schema, value, place)
    elif isinstance(value, list):
        yield from _array(schema, value, root, place, below)
    elif isinstance(value, dict):
        yield from _object(schema, value, root, place, below)


def types_of(schema: dict[str, Any], place: str) -> list[str]:
    """The types a schema names, refused where there is no such type; an empty list: any."""
    given = schema.get("type")
    kinds = [] if given is None else given if isinstance(given, list) else [given]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in TYPES:
            raise Unsatisfiable(f"{place}: there is no type {kind!r}")
    return kinds


def resolve(reference: Any, root: Any) -> Any:
    """The schema that a `$ref` means; only those inside the same document."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise Unsatisfiable(f"the $ref {reference!r} is outside of the schema")
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise Unsatisfiable(f"the $ref {reference!r} leads nowhere")
    if reference != "#" and not reference.startswith("#/"):
        raise Unsatisfiable(f"the $ref {reference!r} is not a path inside of the schema")
    return found


def same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, and True is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def number(schema: dict[str, Any], name: str) -> int | float | None:
    """A numeric keyword; None where it is absent or no number (draft 4 has a boolean `exclusiveMinimum`)."""
    given = schema.get(name)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return None
    return given if math.isfinite(given) else None


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def _combined(schema: dict[str, Any], value: Any, root: Any, place: str, depth: int) -> Iterator[str]:
    for part in _list(schema, "allOf", place):
        yield from problems(part, value, root, place, depth)
    if "anyOf" in schema and all(problem(one, value, root, place, depth) for one in _list(schema, "anyOf", place)):
        yield f"{place}: {_shown(value)} fits none of 'anyOf'"
    if "oneOf" in schema:
        fitting = [one for one in _list(schema, "oneOf", place) if problem(one, value, root, place, depth) is None]
        if len(fitting) != 1:
            yield f"{place}: {_shown(value)} fits {len(fitting)} of 'oneOf', not one"
    if "not" in schema and problem(schema["not"], value, root, place, depth) is None:
        yield f"{place}: {_shown(value)} is what 'not' forbids"
    if "if" in schema:
        chosen = "then" if problem(schema["if"], value, root, place, depth) is None else "else"
        yield from problems(schema.get(chosen), value, root, place, depth)


def _text(schema: dict[str, Any], value: str, place: str) -> Iterator[str]:
    least, most = number(schema, "minLength"), number(schema, "maxLength")
    if least is not None and len(value) < least:
        yield f"{place}: {len(value)} characters are fewer than 'minLength' {least}"
    if most is not None and len(value) > most:
        yield f"{place}: {len(value)} characters are more than 'maxLength' {most}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not _matches(pattern, value):
        yield f"{place}: {_shown(value)} does not match 'pattern' {pattern!r}"


def _number(schema: dict[str, Any], value: int | float, place: str) -> Iterator[str]:
    for name, wrong in (
        ("minimum", lambda bound: value < bound),
        ("maximum", lambda bound: value > bound),
        ("exclusiveMinimum", lambda bound: value <= bound),
        ("exclusiveMaximum", lambda bound: value >= bound),
        ("multipleOf", lambda bound: not _is_multiple(value, bound)),
    ):
        bound = number(schema, name)
        if bound is not None and wrong(bound):
            yield f"{place}: {value} breaks '{name}' {bound}"
    for name, side in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(name) is True and value == number(schema, side):
            yield f"{place}: {value} breaks '{name}'"


def _is_multiple(value: int | float, of: int | float) -> bool:
    return of <= 0 or (math.isfinite(value) and Fraction(str(value)) % Fraction(str(of)) == 0)


def _array(schema: dict[str, Any], value: list[Any], root: Any, place: str, depth: int) -> Iterator[str]:
    least, most = number(schema, "minItems"), number(schema, "maxItems")
    if least is not None and len(value) < least:
        yield f"{place}: {len(value)} items are fewer than 'minItems' {least}"
    if most is not None and len(value) > most:
        yield f"{place}: {len(value)} items are more than 'maxItems' {most}"
    for index, item in enumerate(value):
        yield from problems(item_schema(schema, index), item, root, f"{place}[{index}]", depth)
    if schema.get("uniqueItems") is True and any(
        same(one, other) for n, one in enumerate(value) for other in value[n + 1 :]
    ):
        yield f"{place}: the items are not unique"
    if "contains" in schema:
        found = sum(problem(schema["contains"], item, root, place, depth) is None for item in value)
        fewest, limit = number(schema, "minContains"), number(schema, "maxContains")
        if found < (1 if fewest is None else fewest) or (limit is not None and found > limit):
            yield f"{place}: {found} items are as 'contains' wants them"


def item_schema(schema: dict[str, Any], index: int) -> Any:
    """The schema of an item by its place: `prefixItems` (or a list of `items`, the older spelling), then the rest."""
    items = schema.get("items", True)
    first = items if isinstance(items, list) else schema.get("prefixItems", [])
    if isinstance(first, list) and index < len(first):
        return first[index]
    return schema.get("additionalItems", True) if isinstance(items, list) else items


def _object(schema: dict[str, Any], value: dict[str, Any], root: Any, place: str, depth: int) -> Iterator[str]:
    for name in _list(schema, "required", place):
        if name not in value:
            yield f"{place}: {name!r} is required and missing"
    least, most = number(schema, "minProperties"), number(schema, "maxProperties")
    if least is not None and len(value) < least:
        yield f"{place}: {len(value)} properties are fewer than 'minProperties' {least}"
    if most is not None and len(value) > most:
        yield f"{place}: {len(value)} properties are more than 'maxProperties' {most}"
    for name, item in value.items():
        for one in property_schemas(schema, name):
            yield from problems(one, item, root, f"{place}.{name}", depth)
        if "propertyNames" in schema:
            yield from problems(schema["propertyNames"], name, root, f"{place}.{name}", depth)
    for name, wanted in _dict(schema, "dependentRequired").items():
        if name in value and any(one not in value for one in wanted):
            yield f"{place}: {name!r} requires {', '.join(map(repr, wanted))}"
    for name, dependent in _dict(schema, "dependentSchemas").items():
        if name in value:
            yield from problems(dependent, value, root, place, depth)


def property_schemas(schema: dict[str, Any], name: str) -> list[Any]:
    """All schemas that a property of this name must satisfy."""
    named = _dict(schema, "properties")
    found = [named[name]] if name in named else []
    found += [one for pattern, one in _dict(schema, "patternProperties").items() if _matches(pattern, name)]
    return found or [schema.get("additionalProperties", True)]


def _dict(schema: dict[str, Any], name: str) -> dict[str, Any]:
    given = schema.get(name)
    return given if isinstance(given, dict) else {}


def _list(schema: dict[str, Any], name: str, place: str) -> list[Any]:
    given = schema.get(name, [])
    if not isinstance(given, list):
        raise Unsatisfiable(f"{place}: {name!r} is a list, not {_shown(given)}")
    return given


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except (re.error, OverflowError, RecursionError) as wrong:
        raise Unsatisfiable(f"the pattern {pattern!r} cannot be read: {wrong}") from wrong


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
