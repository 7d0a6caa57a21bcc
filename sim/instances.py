"""A value that satisfies a JSON schema, from chance: what a model writes that is held to a schema.

Every value is checked by `fits` before it is given out. A schema for which none is found raises `Unsatisfiable` with
the reason, so that a client is told rather than sent something wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

from .fits import DEPTH_MAX, item_schema, number, problem, property_schemas, resolve, types_of
from .merging import merged
from .patterns import matching
from .unsatisfiable import Unsatisfiable
from .words import hexadecimal, tokens

TRIES = 12
NODES_FREE = 60
"""Values made before the shortest way is taken: optional properties are left out then, lists kept short."""
NODES_MAX = 20_000
"""Values made at all; a schema that needs more never ends."""
LENGTH_MAX = 20_000
"""Characters, items or properties that a schema may insist on."""
EXTRA_MAX = 2
"""Items more than the least number."""
TRICKY = ("not", "if", "oneOf", "contains", "uniqueItems", "propertyNames", "dependentRequired", "dependentSchemas")
"""Keywords that a value made by the others may still break: another is tried then."""


def instance(schema: Any, rng: Random) -> Any:
    """A value of this schema; `Unsatisfiable` where none is found."""
    return _Maker(schema, rng).checked(schema, "$", 0, TRIES)


class _TooMuch(Unsatisfiable):
    """The whole schema is given up, not one branch of it."""


class _Maker:
    def __init__(self, root: Any, rng: Random) -> None:
        self.root = root
        self.rng = rng
        self.nodes = 0

    @property
    def frugal(self) -> bool:
        return self.nodes > NODES_FREE

    def checked(self, schema: Any, place: str, depth: int, tries: int) -> Any:
        """Made and found right, at the given number of tries."""
        return self._first_right([schema] * tries, schema, place, depth, Unsatisfiable(f"{place}: nothing fits"))

    def _first_right(self, tried: Iterable[Any], schema: Any, place: str, depth: int, wrong: Unsatisfiable) -> Any:
        """The first value made for one of these schemas that `schema` allows; `wrong` is raised where none is tried."""
        for one in tried:
            try:
                value = self.make(one, place, depth)
            except _TooMuch:
                raise
            except Unsatisfiable as problem_:
                wrong = problem_
                continue
            why = problem(schema, value, self.root, place)
            if why is None:
                return value
            wrong = Unsatisfiable(why)
        raise wrong

    def make(self, schema: Any, place: str, depth: int) -> Any:
        """A value that most likely fits; children are checked where their own keywords are tricky."""
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise _TooMuch(f"{place}: no value was found in {NODES_MAX} steps")
        if depth > DEPTH_MAX:
            raise Unsatisfiable(f"{place}: the schema goes deeper than {DEPTH_MAX} steps, or never ends")
        if schema is False:
            raise Unsatisfiable(f"{place}: nothing is allowed here")
        if schema is True or schema is None:
            return self._words(1)
        if not isinstance(schema, dict):
            raise Unsatisfiable(f"{place}: a schema is an object or a boolean, not {schema!r}")
        if "$ref" in schema:
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            return self.make(merged(resolve(schema["$ref"], self.root), rest), place, depth + 1)
        if schema.get("allOf"):
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            for part in _listed(schema["allOf"], place):
                rest = merged(rest, part)
            return self.make(rest, place, depth + 1)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self._branch(schema, name, place, depth)
        if "if" in schema:
            return self._conditional(schema, place, depth)
        if "const" in schema or "enum" in schema:
            return self._listed_value(schema, place)
        kind = self._kind(schema, place)
        match kind:
            case "object":
                return self._object(schema, place, depth)
            case "array":
                return self._array(schema, place, depth)
            case "string":
                return self._text(schema, place)
            case "integer" | "number":
                return self._number(schema, kind, place)
            case "boolean":
                return self.rng.random() < 0.5
        return None

    def child(self, schema: Any, place: str, depth: int) -> Any:
        """A property or an item."""
        tricky = isinstance(schema, dict) and any(name in schema for name in TRICKY)
        return self.checked(schema, place, depth, TRIES) if tricky else self.make(schema, place, depth)

    def _branch(self, schema: dict[str, Any], name: str, place: str, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != name}
        branches = [merged(rest, one) for one in _listed(schema[name], place)]
        self.rng.shuffle(branches)
        if self.frugal or depth > DEPTH_MAX // 3:
            branches.sort(key=_effort)
        return self._first_right(branches, schema, place, depth + 1, Unsatisfiable(f"{place}: {name!r} is empty"))

    def _conditional(self, schema: dict[str, Any], place: str, depth: int) -> Any:
        rest = {name: value for name, value in schema.items() if name not in ("if", "then", "else")}
        then = merged(merged(rest, schema["if"]), schema.get("then", True))
        other = merged(rest, schema.get("else", True))
        ways = [then, other] if self.rng.random() < 0.5 else [other, then]
        for way in ways[:-1]:
            try:
                value = self.make(way, place, depth + 1)
            except _TooMuch:
                raise
            except Unsatisfiable:
                continue
            if problem(schema, value, self.root, place) is None:
                return value
        return self.make(ways[-1], place, depth + 1)

    def _listed_value(self, schema: dict[str, Any], place: str) -> Any:
        values = [schema["const"]] if "const" in schema else _listed(schema["enum"], place)
        fitting = [value for value in values if problem(schema, value, self.root, place) is None]
        if not fitting:
            raise Unsatisfiable(f"{place}: no value of {'const' if 'const' in schema else 'enum'} fits the rest")
        return self.rng.choice(fitting)

    def _kind(self, schema: dict[str, Any], place: str) -> str:
        kinds = types_of(schema, place)
        if kinds:
            return min(kinds, key=_weight_of) if self.frugal else self.rng.choice(kinds)
        for kind, names in (
            ("object", ("properties", "required", "additionalProperties", "patternProperties", "minProperties")),
            ("array", ("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems")),
            ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
        ):
            if any(name in schema for name in names):
                return kind
        return "string"

    def _object(self, schema: dict[str, Any], place: str, depth: int) -> dict[str, Any]:
        given, wanted = schema.get("properties"), schema.get("required")
        named: dict[str, Any] = given if isinstance(given, dict) else {}
        required = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
        least = _count(schema, "minProperties", place, 0)
        most = number(schema, "maxProperties")
        value: dict[str, Any] = {}
        for name in dict.fromkeys([*(name for name in named if name in required), *required]):
            value[name] = self._property(schema, name, place, depth)
        for name in (name for name in named if name not in required):
            full = most is not None and len(value) >= most
            if full or (len(value) >= least and (self.frugal or depth > DEPTH_MAX // 3 or self.rng.random() < 0.3)):
                continue
            try:
                value[name] = self._property(schema, name, place, depth)
            except _TooMuch:
                raise
            except Unsatisfiable:
                continue
        patterns = list(_named(schema, "patternProperties"))
        tries = 0
        while len(value) < least and tries < least + TRIES:
            tries += 1
            name = matching(patterns[0], self.rng) if patterns else hexadecimal(self.rng, "p_", 6)
            value[name] = self._property(schema, name, place, depth)
        return value

    def _property(self, schema: dict[str, Any], name: str, place: str, depth: int) -> Any:
        wanted: Any = True
        for one in property_schemas(schema, name):
            wanted = merged(wanted, one)
        return self.child(wanted, f"{place}.{name}", depth + 1)

    def _array(self, schema: dict[str, Any], place: str, depth: int) -> list[Any]:
        least = _count(schema, "minItems", place, 0)
        if "contains" in schema:
            least = max(least, _count(schema, "minContains", place, 1))
        most = number(schema, "maxItems")
        room = 0 if self.frugal or depth > DEPTH_MAX // 3 else self.rng.randint(0, EXTRA_MAX)
        prefix = schema.get("prefixItems")
        wanted = max(least, len(prefix) if isinstance(prefix, list) else 0) + room
        wanted = int(min(wanted, most)) if most is not None else wanted
        value: list[Any] = []
        for index in range(wanted):
            one = item_schema(schema, index)
            try:
                if "contains" in schema and index < _count(schema, "minContains", place, 1):
                    one = merged(one, schema["contains"])
                value.append(self._item(schema, one, value, f"{place}[{index}]", depth + 1))
            except _TooMuch:
                raise
            except Unsatisfiable:
                if index < least:
                    raise
                break
        return value

    def _item(self, schema: dict[str, Any], one: Any, before: list[Any], place: str, depth: int) -> Any:
        if schema.get("uniqueItems") is not True:
            return self.child(one, place, depth)
        unique = {"not": {"enum": list(before)}}
        return self.checked(
            {"allOf": [one, unique]} if before else one,
            place,
            depth,
            TRIES * 3,
        )

    def _text(self, schema: dict[str, Any], place: str) -> str:
        least = _count(schema, "minLength", place, 0)
        most = number(schema, "maxLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        if isinstance(pattern, str):
            texts = (matching(pattern, self.rng) for _ in range(TRIES * 3))
            return next((text for text in texts if problem(schema, text, self.root) is None), "")
        if isinstance(form, str) and form in FORMATS:
            return self._formatted(form)
        text = self._words(self.rng.randint(1, 4))
        while len(text) < least:
            text += " " + self._words(4)
        return text[: max(least, int(most))] if most is not None else text

    def _words(self, many: int) -> str:
        return "".join(tokens(self.rng, many))

    def _formatted(self, form: str) -> str:
        rng = self.rng
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(31_000_000))
        return FORMATS[form].format(
            at=at,
            word=rng.choice(("meter", "ledger", "journal")),
            number=rng.randint(1, 254),
            a=rng.getrandbits(32),
            b=rng.getrandbits(16),
            c=rng.getrandbits(12),
            d=rng.getrandbits(48),
        )

    def _number(self, schema: dict[str, Any], kind: str, place: str) -> int | float:
        low, high = number(schema, "minimum"), number(schema, "maximum")
        over, under = number(schema, "exclusiveMinimum"), number(schema, "exclusiveMaximum")
        step = number(schema, "multipleOf")
        unit = Fraction(str(step)) if step is not None and step > 0 else Fraction(1) if kind == "integer" else None
        if kind == "integer" and unit is not None:
            unit = Fraction(unit.numerator)
        floor = [Fraction(str(bound)) for bound in (low, over) if bound is not None]
        ceiling = [Fraction(str(bound)) for bound in (high, under) if bound is not None]
        least = max(floor) if floor else min(Fraction(0), *ceiling) - 20 if ceiling else Fraction(0)
        most = min(ceiling) if ceiling else least + max(Fraction(100), 3 * (unit or 1))
        if least > most:
            raise Unsatisfiable(f"{place}: no number is at least {float(least)} and at most {float(most)}")
        if unit is not None:
            first, last = math.ceil(least / unit), math.floor(most / unit)
            # The borders themselves may be excluded; what is inside them is not.
            if (over is not None or schema.get("exclusiveMinimum") is True) and first * unit == least:
                first += 1
            if (under is not None or schema.get("exclusiveMaximum") is True) and last * unit == most:
                last -= 1
            if first > last:
                raise Unsatisfiable(f"{place}: no {kind} lies between {float(least)} and {float(most)}")
            found = self.rng.randint(first, last) * unit
            return int(found) if found.denominator == 1 else float(found)
        share = Fraction(self.rng.randint(1, 999), 1000)
        return float(least + (most - least) * share)


FORMATS = {
    "date-time": "{at:%Y-%m-%dT%H:%M:%SZ}",
    "date": "{at:%Y-%m-%d}",
    "time": "{at:%H:%M:%S}Z",
    "duration": "P{number}D",
    "email": "{word}{number}@example.com",
    "hostname": "{word}{number}.example.com",
    "ipv4": "192.0.2.{number}",
    "ipv6": "2001:db8::{b:x}",
    "uuid": "{a:08x}-{b:04x}-4{c:03x}-8{c:03x}-{d:012x}",
    "uri": "https://example.com/{word}/{number}",
    "url": "https://example.com/{word}/{number}",
    "uri-reference": "/{word}/{number}",
    "json-pointer": "/{word}/{number}",
}
"""Texts of a format, by its name; a format that is not here is any text."""


def _count(schema: dict[str, Any], name: str, place: str, default: int) -> int:
    given = number(schema, name)
    if given is not None and given > LENGTH_MAX:
        raise Unsatisfiable(f"{place}: {name!r} of {given} is more than the simulator writes ({LENGTH_MAX})")
    return default if given is None else math.ceil(given)


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unsatisfiable(f"{place}: a list is expected, not {value!r}")
    return value


def _named(schema: dict[str, Any], name: str) -> list[str]:
    given = schema.get(name)
    return list(given) if isinstance(given, dict) else []


def _weight_of(kind: str) -> int:
    return ("null", "boolean", "integer", "number", "string", "array", "object").index(kind)


def _effort(schema: Any) -> int:
    """A guess at how long a branch goes on: plain values first, lists, objects, references last."""
    if not isinstance(schema, dict):
        return 0
    if "$ref" in schema or "allOf" in schema or "anyOf" in schema or "oneOf" in schema:
        return 9
    kind = schema.get("type")
    return _weight_of(kind) if isinstance(kind, str) and kind in ("null", "boolean", "array", "object") else 4
