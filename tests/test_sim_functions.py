"""The simulator calls functions and keeps to schemas as clients expect of the service, in both APIs."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from sim_asking import House

from submeter.sim.books import Entry
from submeter.sim.frame import Json

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "room": {"type": "string"},
        "unit": {"enum": ["kWh", "m3"]},
        "day": {"type": "integer", "minimum": 1},
    },
    "required": ["room", "unit", "day"],
    "additionalProperties": False,
}
IMPOSSIBLE = {"type": "object", "properties": {"a": {"type": "strnig"}}, "required": ["a"]}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def chat(*names: str, **more: Any) -> Json:
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA, "strict": True}} for name in names]
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "tools": tools, **more}


def response(*names: str, **more: Any) -> Json:
    tools = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in names]
    return {"model": "gpt-5", "input": "x", "tools": tools, **more}


def called(body: Json) -> list[tuple[str, str]]:
    """Names and arguments of the functions that an answer of either API calls."""
    if "choices" in body:
        calls = body["choices"][0]["message"].get("tool_calls") or []
        return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    return [(item["name"], item["arguments"]) for item in body["output"] if item["type"] == "function_call"]


def text_of(body: Json) -> str | None:
    if "choices" in body:
        return body["choices"][0]["message"]["content"]  # type: ignore[no-any-return]
    texts = [item["content"][0]["text"] for item in body["output"] if item["type"] == "message"]
    return texts[0] if texts else None


def last_entry(house: House) -> Entry:
    return house.state.books.entries[-1]


@pytest.mark.parametrize(("target", "ask"), [(CHAT, chat), (RESPONSES, response)])
def test_a_function_that_the_caller_insists_on_is_called_with_arguments_of_its_schema(target: str, ask: Any) -> None:
    house = House()
    for seed in range(10):
        ((name, arguments),) = called(
            house.post(target, ask("f", "g", tool_choice="required", parallel_tool_calls=False, user=str(seed)))
        )
        assert name in ("f", "g")
        jsonschema.validate(json.loads(arguments), SCHEMA)


def test_a_named_function_and_a_set_of_allowed_ones_are_kept_to() -> None:
    house = House()
    named = {"type": "function", "function": {"name": "g"}}
    assert [name for name, _ in called(house.post(CHAT, chat("f", "g", tool_choice=named)))] == ["g"]
    assert [name for name, _ in called(house.post(RESPONSES, response("f", "g", tool_choice={"name": "g"})))] == ["g"]
    only = [{"type": "function", "name": "f"}]
    allowed: Json = {"type": "allowed_tools", "mode": "required", "tools": only}
    assert {name for name, _ in called(house.post(RESPONSES, response("f", "g", tool_choice=allowed)))} == {"f"}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"function": {"name": "f"}}]}}
    assert {name for name, _ in called(house.post(CHAT, chat("f", "g", tool_choice=allowed)))} == {"f"}
    assert called(house.post(RESPONSES, response("f", tool_choice="none"))) == []


@pytest.mark.parametrize(("target", "ask"), [(CHAT, chat), (RESPONSES, response)])
def test_several_functions_are_called_at_once_unless_the_caller_forbids_it(target: str, ask: Any) -> None:
    house = House()
    asked = [ask("f", "g", "h", tool_choice="required", user=str(number)) for number in range(20)]
    assert len({len(called(house.post(target, one))) for one in asked}) > 1
    assert {len(called(house.post(target, {**one, "parallel_tool_calls": False}))) for one in asked} == {1}


@pytest.mark.parametrize(("target", "ask"), [(CHAT, chat), (RESPONSES, response)])
def test_where_the_choice_is_free_a_function_is_sometimes_called_and_never_after_its_result(
    target: str, ask: Any
) -> None:
    house = House()
    assert len({bool(called(house.post(target, ask("f", user=str(n))))) for n in range(20)}) == 2
    results: dict[str, Any] = {
        "messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "1"}],
        "input": [{"type": "function_call_output", "call_id": "c", "output": "1"}],
    }
    for number in range(20):
        assert called(house.post(target, {**ask("f", user=str(number)), **results})) == []


@pytest.mark.parametrize(("target", "ask"), [(CHAT, chat), (RESPONSES, response)])
def test_a_choice_that_no_tool_answers_is_refused(target: str, ask: Any) -> None:
    house = House()
    status, error = house.refused(target, {**ask(), "tools": [], "tool_choice": "required"})
    assert (status, error["param"]) == (400, "tool_choice")
    status, error = house.refused(target, ask("f", tool_choice={"type": "function", "name": "other"}))
    assert (status, error["message"]) == (400, "Tool choice 'other' not found in 'tools' parameter.")


def test_a_chat_stream_carries_the_same_calls_in_pieces() -> None:
    house = House()
    events = house.events(CHAT, chat("f", "g", "h", tool_choice="required", stream_options={"include_usage": True}))
    pieces: dict[int, str] = {}
    names: list[str] = []
    for event in events:
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                names += [call["function"]["name"]] if "id" in call else []
                pieces[call["index"]] = pieces.get(call["index"], "") + call["function"]["arguments"]
    assert len(names) == len(pieces) == len(set(names)) > 0
    for arguments in pieces.values():
        jsonschema.validate(json.loads(arguments), SCHEMA)
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1] == "tool_calls"
    assert events[-1]["usage"]["completion_tokens"] == last_entry(house).counts.output_tokens


def test_a_stream_of_a_response_carries_the_same_calls_in_pieces() -> None:
    house = House()
    events = house.events(RESPONSES, response("f", "g", tool_choice="required"))
    done = events[-1]["response"]
    streamed: dict[str, str] = {}
    for event in events:
        if event["type"] == "response.function_call_arguments.delta":
            streamed[event["item_id"]] = streamed.get(event["item_id"], "") + event["delta"]
    calls = {item["id"]: item["arguments"] for item in done["output"] if item["type"] == "function_call"}
    assert streamed == calls
    assert {event["item_id"] for event in events if event["type"].endswith("arguments.done")} == set(calls)
    added = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert added == list(range(len(done["output"])))
    assert done["usage"]["output_tokens"] == last_entry(house).counts.output_tokens


def test_chat_s_older_functions_are_called_in_their_own_spelling() -> None:
    house = House()
    asked = {**chat(), "functions": [{"name": "f", "parameters": SCHEMA}], "function_call": {"name": "f"}}
    del asked["tools"]
    choice = house.post(CHAT, asked)["choices"][0]
    assert choice["finish_reason"] == "function_call"
    jsonschema.validate(json.loads(choice["message"]["function_call"]["arguments"]), SCHEMA)
    streamed = [e["choices"][0]["delta"].get("function_call", {}) for e in house.events(CHAT, asked) if e["choices"]]
    jsonschema.validate(json.loads("".join(part.get("arguments", "") for part in streamed)), SCHEMA)


def test_custom_tools_take_text_and_a_grammar_that_cannot_be_written_is_refused_only_if_insisted_on() -> None:
    house = House()
    digits = {"type": "grammar", "syntax": "regex", "definition": "^[0-9]{4}$"}
    patch = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    asked = response(tool_choice="required", tools=[{"type": "custom", "name": "pin", "format": digits}])
    (item,) = (item for item in house.post(RESPONSES, asked)["output"] if item["type"] == "custom_tool_call")
    assert item["input"].isdigit()
    events = house.events(RESPONSES, asked)
    assert "".join(e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta").isdigit()
    lark = response(tools=[{"type": "custom", "name": "patch", "format": patch}])
    assert {item["type"] for item in house.post(RESPONSES, lark)["output"]} <= {"message", "reasoning"}
    status, error = house.refused(RESPONSES, {**lark, "tool_choice": "required"})
    assert status == 400
    assert "grammar" in error["message"]


def test_a_function_of_a_namespace_is_called_with_its_namespace() -> None:
    house = House()
    group = {"type": "namespace", "name": "house", "description": "x", "tools": response("f")["tools"]}
    body = house.post(RESPONSES, response(tool_choice="required", tools=[group]))
    assert [(i["name"], i["namespace"]) for i in body["output"] if i["type"] == "function_call"] == [("f", "house")]


FORMAT = {"type": "json_schema", "name": "o", "schema": SCHEMA, "strict": True}


def test_structured_outputs_are_json_of_their_schema_whole_and_streamed() -> None:
    house = House()
    wrapped = {"type": "json_schema", "json_schema": {key: FORMAT[key] for key in ("name", "schema", "strict")}}
    asked = {**chat(), "response_format": wrapped, "n": 2}
    for choice in house.post(CHAT, asked)["choices"]:
        jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    events = house.events(CHAT, {**asked, "n": 1})
    jsonschema.validate(json.loads("".join(e["choices"][0]["delta"].get("content") or "" for e in events)), SCHEMA)
    body = house.post(RESPONSES, response(text={"format": FORMAT}))
    jsonschema.validate(json.loads(text_of(body) or ""), SCHEMA)
    assert body["text"]["format"]["schema"] == SCHEMA
    events = house.events(RESPONSES, response(text={"format": FORMAT}))
    jsonschema.validate(
        json.loads("".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")), SCHEMA
    )
    assert isinstance(
        json.loads(text_of(house.post(CHAT, {**chat(), "response_format": {"type": "json_object"}})) or ""), dict
    )


def test_a_limit_cuts_a_structured_output_short_as_it_cuts_words() -> None:
    house = House()
    body = house.post(RESPONSES, response(model="gpt-4o", text={"format": FORMAT}, max_output_tokens=2))
    assert body["status"] == "incomplete"
    assert body["usage"]["output_tokens"] == 2
    assert not (text_of(body) or "").endswith("}")


@pytest.mark.parametrize(
    ("target", "body", "param"),
    [
        (
            CHAT,
            {**chat(), "tools": [{"type": "function", "function": {"name": "f", "parameters": IMPOSSIBLE}}]},
            "tools[0].function.parameters",
        ),
        (
            RESPONSES,
            {**response(), "tools": [{"type": "function", "name": "f", "parameters": IMPOSSIBLE}]},
            "tools[0].parameters",
        ),
        (
            CHAT,
            {**chat(), "response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": IMPOSSIBLE}}},
            "response_format",
        ),
        (
            RESPONSES,
            {**response(), "text": {"format": {"type": "json_schema", "name": "f", "schema": IMPOSSIBLE}}},
            "text.format",
        ),
    ],
    ids=["chat tool", "responses tool", "response_format", "text.format"],
)
def test_a_schema_that_cannot_be_satisfied_is_refused_with_the_reason(target: str, body: Json, param: str) -> None:
    status, error = House().refused(target, body)
    assert (status, error["param"]) == (400, param)
    assert "there is no type 'strnig'" in error["message"]
    assert "'f'" in error["message"]
