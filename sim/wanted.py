"""What a request wants written: functions called, text in the form of a schema, or what the script says.

Both APIs spell tools and formats differently; here they become one. A schema for which no value is found refuses the
request, with the reason, whether or not it would have been used. No counts are decided here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .frame import Json, Refusal, Request
from .instances import instance
from .merging import merged
from .patterns import matching
from .state import State
from .unsatisfiable import Unsatisfiable
from .words import strings, tokens

CALLS_MAX = 3
"""Functions called at once, at most."""
RESULTS = ("function_call_output", "custom_tool_call_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function on offer."""

    name: str
    custom: bool = False
    """Whether it takes any text instead of arguments in JSON."""
    namespace: str | None = None
    """Responses only: the group it belongs to."""
    sample: str | None = ""
    """What it may be called with; None: the simulator cannot write its language and does not call it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function to be called, with its arguments as the wire has them."""

    name: str
    text: str
    custom: bool = False
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one answer shall say."""

    text: str | None = None
    """None: the model's own words, unless functions are called."""
    calls: tuple[Call, ...] = ()
    stops: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    told: bool = False
    """Whether nothing may be added to it: a script says it, or nothing is to be said at all."""


PLAIN = Wanted()


def of_chat(state: State, request: Request) -> Wanted:
    """What a chat completion shall say."""
    body = request.body
    tools = [
        *_tools(request, "tools", body.get("tools"), inside=True),
        *_functions(request, body.get("functions")),
    ]
    choice = body.get("tool_choice", body.get("function_call", "auto"))
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        choice = {"type": "allowed_tools", **_object(choice.get("allowed_tools"))}
    wanted = body.get("response_format")
    form = _object(wanted)
    if form.get("type") == "json_schema":
        form = {**_object(form.get("json_schema")), "type": "json_schema"}
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    answered = isinstance(last, dict) and last.get("role") in ("tool", "function")
    return _wanted(state, request, [messages], tools, choice, form, "response_format", answered)


def of_response(state: State, request: Request) -> Wanted:
    """What a response shall say."""
    body = request.body
    if body.get("generate") is False:
        return Wanted(told=True)
    tools = _tools(request, "tools", body.get("tools"), inside=False)
    form = _object(_object(body.get("text")).get("format"))
    given = body.get("input")
    last = given[-1] if isinstance(given, list) and given else None
    answered = isinstance(last, dict) and last.get("type") in RESULTS
    prompt = [body.get("instructions"), given]
    return _wanted(state, request, prompt, tools, body.get("tool_choice", "auto"), form, "text.format", answered)


def of_legacy(state: State, request: Request) -> Wanted:
    """What a legacy completion shall say."""
    scripted = state.script.answer(strings(request.body.get("prompt")))
    return Wanted(text=scripted.say if scripted is not None else None, stops=_stops(request))


def _wanted(
    state: State,
    request: Request,
    prompt: Any,
    tools: Sequence[Tool],
    choice: Any,
    form: Json,
    param: str,
    answered: bool,
) -> Wanted:
    stops = _stops(request)
    text = _formed(request, form, param)
    scripted = state.script.answer(strings(prompt))
    if scripted is not None:
        custom = {tool.name: tool for tool in tools}
        calls = tuple(
            Call(
                name=name,
                text=arguments,
                custom=name in custom and custom[name].custom,
                namespace=custom[name].namespace if name in custom else None,
            )
            for name, arguments in scripted.calls
        )
        return Wanted(text=scripted.say, calls=calls, stops=stops, told=True)
    chosen = _chosen(request, tools, choice, answered)
    calls = tuple(
        Call(name=tool.name, text=tool.sample or "", custom=tool.custom, namespace=tool.namespace) for tool in chosen
    )
    return Wanted(text=None if calls else text, calls=calls, stops=stops)


def _chosen(request: Request, tools: Sequence[Tool], choice: Any, answered: bool) -> list[Tool]:
    """The functions to be called: those the caller insists on, or on a toss where it leaves the choice."""
    rng = request.rng
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = [_name(tool) for tool in choice.get("tools") or [] if isinstance(tool, dict)]
        tools = [tool for tool in tools if tool.name in allowed]
        choice = choice.get("mode", "auto")
    if choice == "none":
        return []
    named = _name(choice) if isinstance(choice, dict) else None
    if named is not None:
        found = [tool for tool in tools if tool.name == named]
        if not found:
            raise Refusal(400, f"Tool choice '{named}' not found in 'tools' parameter.", param="tool_choice")
        return [_writable(found[0])]
    if choice == "required":
        if not tools and not request.body.get("tools"):
            message = "Tool choice 'required' must be specified with 'tools' parameter."
            raise Refusal(400, message, param="tool_choice")
        if tools and all(tool.sample is None for tool in tools):
            _writable(tools[0])
    usable = [tool for tool in tools if tool.sample is not None]
    if not usable or (choice != "required" and (answered or rng.random() < 0.5)):
        return []
    several = request.body.get("parallel_tool_calls") is not False and "functions" not in request.body
    number = rng.choice((1, 1, 2, CALLS_MAX)) if several else 1
    return rng.sample(usable, min(number, len(usable)))


def _writable(tool: Tool) -> Tool:
    if tool.sample is None:
        message = f"The simulator cannot write the grammar of '{tool.name}'; script the call (--script)."
        raise Refusal(400, message, param="tools")
    return tool


def _name(choice: Json) -> str | None:
    """The function that a `tool_choice` names, in any spelling."""
    for holder in (choice, _object(choice.get("function")), _object(choice.get("custom"))):
        name = holder.get("name")
        if isinstance(name, str):
            return name
    return None


def _tools(request: Request, place: str, given: Any, *, inside: bool, namespace: str | None = None) -> list[Tool]:
    """The functions among the tools; `inside`: each in an object of its own, as chat has them."""
    found: list[Tool] = []
    for number, item in enumerate(given if isinstance(given, list) else []):
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        where = f"{place}[{number}]"
        if kind == "namespace" and namespace is None:
            name = item.get("name")
            group = name if isinstance(name, str) else ""
            found += _tools(request, f"{where}.tools", item.get("tools"), inside=inside, namespace=group)
        elif kind in ("function", "custom"):
            told = _object(item.get(kind)) if inside else item
            where = f"{where}.{kind}" if inside else where
            if isinstance(told.get("name"), str):
                found.append(_tool(request, told, where, custom=kind == "custom", namespace=namespace))
    return found


def _functions(request: Request, given: Any) -> list[Tool]:
    """Chat's older spelling of tools."""
    listed = given if isinstance(given, list) else []
    return [
        _tool(request, item, f"functions[{number}]", custom=False, namespace=None)
        for number, item in enumerate(listed)
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _tool(request: Request, told: Json, where: str, *, custom: bool, namespace: str | None) -> Tool:
    name = told["name"]
    if custom:
        return Tool(name=name, custom=True, namespace=namespace, sample=_free_text(request, told.get("format")))
    parameters = told.get("parameters")
    try:
        arguments = (
            instance(
                merged({"type": "object"}, parameters) if isinstance(parameters, dict) else parameters, request.rng
            )
            if parameters not in (None, {})
            else {}
        )
    except Unsatisfiable as reason:
        message = f"Invalid schema for function '{name}': {reason}"
        param = f"{where}.parameters"
        raise Refusal(400, message, param=param, code="invalid_function_parameters") from reason
    return Tool(name=name, namespace=namespace, sample=json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))


def _free_text(request: Request, form: Any) -> str | None:
    grammar = _object(form)
    if grammar.get("type") != "grammar":
        return "".join(tokens(request.rng, request.rng.randint(1, 6)))
    held = {**grammar, **_object(grammar.get("grammar"))}
    if held.get("syntax") != "regex":
        return None
    try:
        return matching(str(held.get("definition")), request.rng)
    except Unsatisfiable:
        return None


def _formed(request: Request, form: Json, param: str) -> str | None:
    """Text in the wanted form; None: any words will do."""
    if form.get("type") == "json_object":
        return json.dumps({"answer": "".join(tokens(request.rng, 3))}, ensure_ascii=False)
    if form.get("type") != "json_schema":
        return None
    try:
        value = instance(form.get("schema", {}), request.rng)
    except Unsatisfiable as reason:
        message = f"Invalid schema for response_format '{form.get('name')}': {reason}"
        raise Refusal(400, message, param=param, code="invalid_json_schema") from reason
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _stops(request: Request) -> tuple[str, ...]:
    given = request.body.get("stop")
    listed = given if isinstance(given, list) else [given]
    return tuple(one for one in listed if isinstance(one, str) and one)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
