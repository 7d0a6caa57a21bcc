"""A few members out of a JSON document: by orjson or by the scanner, and both the same."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.json_body import RESPONSE_MEMBERS, Document, JsonBody, is_shallow, journal_value, read_json
from submeter.proxy.json_scan import JsonScanner, Problem

BODY = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-x",
    "created_at": 1,
    "metadata": {"usage": {"not": "this"}, "id": "nor this"},
    "output": [{"type": "message", "content": [{"type": "output_text"}]}, {"type": "web_search_call"}],
    "error": None,
    "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 7},
    "data": [{"b64_json": "AA=="}, {"usage": 1}],
}


def scanned(data: bytes, sizes: int = 10**9) -> Document:
    """The document by the scanner alone, fed in chunks of `sizes` bytes."""
    body = JsonBody(buffer_bytes_max=-1)
    for start in range(0, len(data), sizes):
        body.feed(data[start : start + sizes])
    return body.document()


def wanted(document: Document) -> dict[str, Any]:
    """What the meter would see of a document, in one shape for both ways."""

    def of(members: Any, tree: Any) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, inner in tree.items():
            if name not in members or name == "data":
                continue
            value = members[name]
            if name == "output":
                types = [item["type"] for item in value if "type" in item] if isinstance(value, list) else []
                kept[name] = list(dict.fromkeys(json.dumps(one, sort_keys=True) for one in types)) or None
            elif isinstance(inner, dict):
                kept[name] = of(value, inner) if isinstance(value, dict) else {}
            else:
                kept[name] = value
        return {name: value for name, value in kept.items() if value not in (None, {})}

    return {**of(document.members, RESPONSE_MEMBERS), "items": document.data_items, "problem": document.problem}


def test_wanted_members_come_out_and_others_of_the_same_name_do_not() -> None:
    data = json.dumps(BODY).encode()
    for document in (read_json(data), scanned(data), scanned(data, 1)):
        assert document.members["id"] == "resp_1"
        assert document.members["usage"] == BODY["usage"]
        assert document.data_items == 2
        assert document.problem is None


def test_the_scanner_reads_any_chunking_the_same() -> None:
    data = json.dumps(BODY, indent=2).encode()
    whole = scanned(data)
    assert wanted(whole) == wanted(read_json(data))
    assert wanted(scanned(data, 1)) == wanted(whole)
    for cut in range(len(data)):
        scanner = JsonBody(buffer_bytes_max=-1)
        scanner.feed(data[:cut])
        assert scanner.document().problem is Problem.TRUNCATED
        scanner.feed(data[cut:])
        assert scanner.document() == whole


@pytest.mark.parametrize("buffer_bytes_max", [-1, 10**9])
def test_every_proper_prefix_is_truncated_and_more_after_the_end_is_broken(buffer_bytes_max: int) -> None:
    data = json.dumps(BODY).encode()
    for cut in range(1, len(data)):
        body = JsonBody(buffer_bytes_max=buffer_bytes_max)
        body.feed(data[:cut])
        assert body.document().problem is Problem.TRUNCATED
    body = JsonBody(buffer_bytes_max=buffer_bytes_max)
    body.feed(data + b" \n")
    assert body.document().problem is None
    body.feed(b"{")
    assert body.document().problem is Problem.BROKEN


def test_of_a_member_given_twice_the_last_stands() -> None:
    data = (
        b'{"usage":{"a":1},"response":{"id":"x","usage":{"b":1}},"data":[1],'
        b'"response":{"id":"y"},"usage":{"a":2},"data":2}'
    )
    for document in (read_json(data), scanned(data), scanned(data, 1)):
        assert document.members["usage"] == {"a": 2}
        assert document.members["response"] == {"id": "y"}
        assert document.data_items is None


def test_an_escaped_name_is_the_name() -> None:
    data = rb'{"us\u0061ge":{"input_tokens":1},"\u006dodel":"m\n"}'
    assert wanted(scanned(data)) == wanted(read_json(data)) == wanted(scanned(data, 1))


def test_integers_beyond_64_bits_survive_to_the_last_digit() -> None:
    document = read_json(b'{"usage": {"input_tokens": 123456789012345678901234567890, "cost": 0.10}}')
    assert document.members["usage"]["input_tokens"] == 123456789012345678901234567890
    assert document.raw["usage",] == b'{"input_tokens": 123456789012345678901234567890, "cost": 0.10}'


def test_a_float_inside_a_usage_keeps_its_text() -> None:
    document = read_json(b'{"response": {"usage": {"cost": 1.10,\r\n "x": 1e2}}}')
    raw = document.raw["response", "usage"]
    assert orjson.dumps({"usage": journal_value(raw)}) == b'{"usage":{"cost": 1.10, "x": 1e2}}'


def test_bytes_no_strict_reader_would_read_back_are_kept_from_the_journal() -> None:
    assert journal_value(rb'{"a":"\ud800"}') is None
    assert journal_value(b'{"a":NaN}') is None
    assert journal_value(b'{"a":"\xff"}') is None


@pytest.mark.parametrize(
    ("data", "invalid_utf8"),
    [
        (rb'{"x":"\ud800","usage":{"input_tokens":1}}', False),
        (b'{"x":"\xff\xfe","usage":{"input_tokens":1}}', True),
        (b'{"\\u0061\xc5":1,"usage":{"input_tokens":1}}', True),
        (b'{"x":NaN,"usage":{"input_tokens":1}}', False),
        (b'{"x":-Infinity,"usage":{"input_tokens":1}}', False),
        (b'\xef\xbb\xbf{"usage":{"input_tokens":1}}', False),
    ],
)
def test_what_strict_readers_refuse_elsewhere_costs_no_usage(data: bytes, invalid_utf8: bool) -> None:
    for document in (read_json(data), scanned(data), scanned(data, 1)):
        assert document.members["usage"] == {"input_tokens": 1}
        assert document.problem is None
        assert document.invalid_utf8 is invalid_utf8


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":1 "b":2}',
        b"{'a':1}",
        b'{"a":[1,]}',
        b'{"a":[1 2]}',
        b'{"a":[,1]}',
        b'{"a":{"b":1}]}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":+1}',
        b'{"a":tru}',
        b'{"a":"\x01"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12g4"}',
        b'{"a":1}}',
        b'{"a":[{"b":[1,2,}]}',
        b'{,"a":1}',
        b"]",
        b"<html>",
        b'{"a":1} {"b":2}',
    ],
)
def test_broken_grammar_is_broken_both_ways(data: bytes) -> None:
    assert read_json(data).problem is Problem.BROKEN
    assert scanned(data, 1).problem is Problem.BROKEN


@pytest.mark.parametrize("data", [b"[]", b"[1,2]", b"null", b'"text"', b"12", b" true\n"])
def test_a_document_that_is_no_object_has_no_members_and_no_problem(data: bytes) -> None:
    for document in (read_json(data), scanned(data), scanned(data, 1)):
        assert (dict(document.members), document.problem) == ({}, None)


def test_nesting_beyond_the_limit_is_refused_both_ways() -> None:
    deep = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    assert read_json(deep).problem is Problem.BROKEN
    shallow = b'{"a":' + b"[" * 900 + b"]" * 900 + b',"id":"x"}'
    assert wanted(scanned(shallow)) == wanted(read_json(shallow))


def test_depth_is_counted_in_containers() -> None:
    assert is_shallow(5, 0)
    assert not is_shallow({}, 0)
    assert is_shallow({"a": [1, {"b": 2}]}, 3)
    assert not is_shallow({"a": [1, {"b": 2}]}, 2)


def test_a_wanted_value_that_is_too_long_is_named_and_not_kept() -> None:
    data = b'{"usage":{"x":"' + b"y" * 70_000 + b'"},"id":"z"}'
    document = scanned(data, 1000)
    assert document.oversize == {("usage",)}
    assert dict(document.members) == {"id": "z"}


def test_a_very_long_name_and_a_very_long_number_are_survived() -> None:
    assert scanned(b'{"' + b"k" * 200_000 + b'":1,"id":"x"}', 999).members["id"] == "x"
    assert scanned(b'{"a":' + b"1" * 200_000 + b',"id":"x"}', 999).problem is Problem.BROKEN


# Beyond 64 bits only a usage is exact; orjson rounds other integers, and nothing reads those.
INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=12)


def values_of(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=12,
    )


VALUES = values_of(SCALARS | INTEGERS)
ITEMS = st.lists(st.fixed_dictionaries({}, optional={"type": st.text(max_size=4), "x": VALUES}), max_size=4)
OBJECTS = st.builds(
    lambda members, usage: {**members, **usage},
    st.dictionaries(st.sampled_from(["id", "model", "status", "error", "x", "us\nage", "日本"]), VALUES, max_size=6),
    st.fixed_dictionaries({}, optional={"usage": values_of(SCALARS | st.integers())}),
)
DOCUMENTS = st.builds(
    lambda top, response, extra: {**top, **({"response": response} if response else {}), **extra},
    OBJECTS,
    OBJECTS,
    st.fixed_dictionaries({}, optional={"output": ITEMS, "data": st.lists(VALUES, max_size=4)}),
)


@given(DOCUMENTS, st.sampled_from([None, 1]), st.booleans(), st.integers(1, 50))
def test_both_ways_give_the_same_members_of_any_object(
    document: dict[str, Any], indent: int | None, ascii_only: bool, size: int
) -> None:
    data = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    strict = orjson_or_none(data)
    assert wanted(scanned(data, size)) == wanted(scanned(data)) == wanted(read_json(data))
    if strict is not None:
        assert read_json(data).members.get("usage") == json.loads(data).get("usage")


def orjson_or_none(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0123 tfn-.e\n', max_size=60).map(str.encode))
def test_the_scanner_accepts_what_orjson_accepts_and_little_else(data: bytes) -> None:
    problem = scanned(data).problem
    assert scanned(data, 1).problem == problem
    if orjson_or_none(data) is not None or data.strip() == b"null":
        assert problem is None
    elif problem is None:
        json.loads(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))


def test_64_mib_of_json_take_a_few_mib_of_memory() -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"id":"x","b64_json":"'
        block = b"QUJD" * 16_384
        for _ in range(1024):
            yield block
        yield b'","usage":{"input_tokens":3,"output_tokens":4}}'

    tracemalloc.start()
    body = JsonBody()
    for chunk in chunks():
        body.feed(chunk)
    document = body.document()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert body.size > 64 * 1024 * 1024
    assert document.members["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert peak < 12 * 1024 * 1024


def test_a_scanner_takes_any_tree() -> None:
    scanner = JsonScanner({})
    scanner.feed(b'{"a":1}')
    assert scanner.scan().problem is None
