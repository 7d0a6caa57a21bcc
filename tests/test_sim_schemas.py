"""What the simulator makes of a JSON schema is right by another's judgement, and what it cannot make it says."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submeter.sim.instances import instance
from submeter.sim.patterns import matching
from submeter.sim.unsatisfiable import Unsatisfiable

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "left", "children"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS: dict[str, Any] = {
    "anything": {},
    "a strict object": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "a required name without a schema": {"type": "object", "required": ["x"]},
    "enum and const": {
        "type": "object",
        "properties": {"unit": {"enum": ["c", "f"]}, "kind": {"const": "weather"}},
        "required": ["unit", "kind"],
    },
    "an enum narrowed by a type": {"type": "string", "enum": [1, "a", None]},
    "a tree that refers to itself": TREE,
    "a list of fixed places": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "boolean"}],
        "items": False,
    },
    "unique items": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"const": 7}},
    "numbers": {"type": "number", "exclusiveMinimum": 2, "maximum": 3},
    "a step": {"type": "integer", "minimum": 11, "maximum": 19, "multipleOf": 5},
    "exactly one": {"oneOf": [{"type": "integer"}, {"type": "number", "multipleOf": 0.5}], "minimum": 0, "maximum": 3},
    "all of them": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": {"type": "null"}}, "required": ["b"]},
        ]
    },
    "not": {"type": "boolean", "not": {"const": True}},
    "a condition": {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "else": {"required": ["y"]},
    },
    "lengths": {"type": "string", "minLength": 60, "maxLength": 61},
    "a pattern": {"type": "string", "pattern": r"^(?:[A-Z]{2}-)?\d{3,5}(\.[a-f]+|/x)?$"},
    "a pattern and a length": {"type": "string", "pattern": "^a*$", "maxLength": 2},
    "names by pattern": {
        "type": "object",
        "patternProperties": {"^x_[a-z]+$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "a map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    "an escaped reference": {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}},
}
IMPOSSIBLE: dict[str, tuple[Any, str]] = {
    "nothing is allowed": (False, "nothing is allowed"),
    "too short and too long": ({"type": "string", "minLength": 5, "maxLength": 2}, "maxLength"),
    "no number between": ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "no integer lies between"),
    "an empty enum": ({"enum": []}, "enum"),
    "a type that is none": ({"type": "strnig"}, "no type 'strnig'"),
    "a reference outside": ({"$ref": "https://example.com/a.json"}, "outside"),
    "a reference to nowhere": ({"$ref": "#/$defs/a"}, "nowhere"),
    "an object that never ends": (
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        "never ends",
    ),
    "a reference to itself": ({"$ref": "#"}, "never ends"),
    "too many": ({"type": "array", "minItems": 10**9}, "minItems"),
    "a required property that is forbidden": (
        {"type": "object", "required": ["a"], "properties": {}, "additionalProperties": False},
        "nothing is allowed",
    ),
    "a contradiction": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "both"),
    "a pattern that cannot be read": ({"type": "string", "pattern": "(["}, "cannot be read"),
    "a pattern beyond the simulator": ({"type": "string", "pattern": r"^(?=x)(?!x)"}, "pattern"),
    "no schema at all": ("string", "a schema is an object"),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_instance_satisfies_its_schema_by_another_s_judgement(name: str) -> None:
    for seed in range(15):
        value = instance(SCHEMAS[name], random.Random(seed))
        jsonschema.validate(json.loads(json.dumps(value)), SCHEMAS[name])


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_satisfied_is_said_with_its_reason(name: str) -> None:
    schema, reason = IMPOSSIBLE[name]
    for seed in range(5):
        with pytest.raises(Unsatisfiable, match=re.escape(reason)):
            instance(schema, random.Random(seed))


def test_the_same_chance_makes_the_same_instance_and_another_another() -> None:
    made = [instance(SCHEMAS["a strict object"], random.Random(seed)) for seed in (1, 1, *range(2, 9))]
    assert made[0] == made[1]
    assert len({json.dumps(value) for value in made}) > 1


@pytest.mark.parametrize(
    "pattern", [r"^\w+@\w+\.com$", r"[^a-z]{4}", r"^(a|bc)*d+?$", r"\u00e9\x41", r"^$", r"(?P<y>\d{4})-(?<m>0[1-9])"]
)
def test_a_text_made_from_a_pattern_matches_it(pattern: str) -> None:
    if "(?<m>" in pattern:
        with pytest.raises(Unsatisfiable):
            matching(pattern, random.Random(0))
        return
    for seed in range(20):
        assert re.search(pattern, matching(pattern, random.Random(seed)))


bounds = st.integers(-5, 9)
plain = st.one_of(
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": bounds, "maximum": st.integers(3, 20)}),
    st.fixed_dictionaries(
        {"type": st.just("number")}, optional={"exclusiveMinimum": bounds, "multipleOf": st.sampled_from([0.5, 2])}
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 9), "maxLength": st.integers(0, 12)}
    ),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from([1, "a", None, True, 2.5]), min_size=1, max_size=3)}),
    st.sampled_from([{}, {"type": ["string", "null"]}, {"type": "boolean"}, {"type": "string", "pattern": "^[ab]+$"}]),
)
schemas = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
            optional={
                "required": st.lists(st.sampled_from("abcd"), unique=True, max_size=2),
                "additionalProperties": st.one_of(st.booleans(), inner),
                "maxProperties": st.integers(0, 3),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 3), "maxItems": st.integers(1, 4), "uniqueItems": st.booleans()},
        ),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"type": st.just("object"), "not": inner}),
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(schema=schemas, seed=st.integers(0, 999))
def test_any_schema_is_satisfied_or_refused(schema: Any, seed: int) -> None:
    try:
        value = instance(schema, random.Random(seed))
    except Unsatisfiable:
        return
    jsonschema.validate(json.loads(json.dumps(value)), schema)
