"""A response as an object, and as the events of its stream.

The stream is a list of events around snapshots of the object, numbered from zero, ended by exactly one terminal event
and no `[DONE]`. No counts are decided and no books are written here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .counts import Counts
from .echo import repeated
from .frame import Frame, Json, Part, Request
from .logprobs import logprobs, top_of
from .talk import Called, Talk
from .words import chance, hexadecimal, identifier, tokens

Event = tuple[str, Json]
SEARCH = "web_search_call"
PROBABLE = "message.output_text.logprobs"


def usage_of(counts: Counts, *, cache_write: bool = True) -> Json:
    """The usage object of a response."""
    details = {"cached_tokens": counts.cached_tokens}
    if cache_write:
        details["cache_write_tokens"] = counts.cache_write
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": details,
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.total_tokens,
    }


def snapshot(body: Json, status: str) -> Json:
    """The same response before it is done: no output, no usage."""
    return {**body, "status": status, "completed_at": None, "output": [], "usage": None, "incomplete_details": None}


def completed(request: Request, echoed: Json, model: str, said: Talk, name: str, tier: str, searches: int) -> Json:
    """The response when it is done. `echoed` is what it repeats of its request."""
    none = {"text_tokens": 0, "image_tokens": 0}
    status = "incomplete" if said.cut else "completed"
    conversation = request.body.get("conversation")
    held = conversation.get("id") if isinstance(conversation, dict) else conversation
    body: Json = {
        "id": name,
        "object": "response",
        "created_at": int(request.at),
        "status": status,
        "background": request.body.get("background") is True,
        "completed_at": int(request.at) if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if said.cut else None,
        "model": model,
        "output": _output(request, said, name, status, searches),
        "service_tier": tier,
        "store": request.body.get("store") is not False,
        **echoed,
        "tool_usage": {
            "image_gen": {
                "input_tokens": 0,
                "input_tokens_details": none,
                "output_tokens": 0,
                "output_tokens_details": none,
                "total_tokens": 0,
            },
            "web_search": {"num_requests": searches},
        },
        "usage": usage_of(said.counts),
    }
    return body if held is None else {**body, "conversation": {"id": held}}


def echo_of(request: Request) -> Json:
    """What a response repeats of its request; refused where that is of the wrong kind."""
    top_of(request)
    return repeated(request)


def _output(request: Request, said: Talk, name: str, status: str, searches: int) -> list[Json]:
    rng = chance("items", name)
    (one,) = said.choices
    content: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": one.text}
    included = request.body.get("include")
    if top_of(request) or (isinstance(included, list) and PROBABLE in included):
        content["logprobs"] = logprobs(one.pieces, top_of(request), chance("logprobs", name))
    message = {"id": hexadecimal(rng, "msg_", 50), "type": "message", "status": status, "content": [content]}
    output: list[Json] = [{**message, "role": "assistant"}] if one.pieces or not one.calls else []
    for _ in range(searches):
        action = {"type": "search", "query": tokens(rng, 1)[0], "sources": None}
        item = {"id": hexadecimal(rng, "ws_", 50), "type": SEARCH, "status": "completed", "action": action}
        output.insert(0, item)
    if said.counts.reasoning:
        output.insert(0, {"id": hexadecimal(rng, "rs_", 50), "type": "reasoning", "content": [], "summary": []})
    for call in one.calls:
        kind, field = ("custom_tool_call", "input") if call.custom else ("function_call", "arguments")
        item = {"id": hexadecimal(rng, "ctc_" if call.custom else "fc_", 50), "type": kind, "status": status}
        item |= {"call_id": identifier(rng, "call_", 24), "name": call.name, field: call.text}
        output.append(item if call.namespace is None else {**item, "namespace": call.namespace})
    return output


def events(body: Json, said: Talk, *, background: bool = False, padded: bool = True) -> list[Frame]:
    """The whole stream of a response."""
    rng = chance("pad", body["id"])
    (one,) = said.choices
    calls = iter(one.calls)
    listed: list[Event] = []
    if background:
        listed.append(("response.queued", {"response": snapshot(body, "queued")}))
    listed.append(("response.created", {"response": snapshot(body, "in_progress")}))
    listed.append(("response.in_progress", {"response": snapshot(body, "in_progress")}))

    def pad() -> Json:
        return {"obfuscation": identifier(rng, "", rng.randint(1, 16))} if padded else {}

    for index, item in enumerate(body["output"]):
        match item["type"]:
            case "message":
                inner = [
                    (name, {**payload, **(pad() if name.endswith(".delta") else {})})
                    for name, payload in _message(index, item, one.pieces)
                ]
                begun: Json = {**item, "status": "in_progress", "content": []}
            case "reasoning":
                inner, begun = [], {**item, "summary": []}
            case "web_search_call":
                place = {"item_id": item["id"], "output_index": index}
                inner = [(f"response.{SEARCH}.{step}", place) for step in ("in_progress", "searching", "completed")]
                begun = {**item, "status": "in_progress"}
            case _:
                call = next(calls)
                inner = [
                    (name, {**payload, **(pad() if name.endswith(".delta") else {})})
                    for name, payload in _call(index, item, call)
                ]
                begun = {**item, "status": "in_progress", "input" if call.custom else "arguments": ""}
        listed.append(("response.output_item.added", {"output_index": index, "item": begun}))
        listed += inner
        listed.append(("response.output_item.done", {"output_index": index, "item": item}))
    listed.append((f"response.{body['status']}", {"response": body}))
    return numbered(listed)


def _message(index: int, item: Json, pieces: Sequence[str]) -> list[Event]:
    content = item["content"][0]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    told = content["logprobs"]
    return [
        ("response.content_part.added", {**place, "part": {**content, "text": "", "logprobs": []}}),
        *(
            ("response.output_text.delta", {**place, "delta": piece, "logprobs": told[number : number + 1]})
            for number, piece in enumerate(pieces)
        ),
        ("response.output_text.done", {**place, "text": content["text"], "logprobs": told}),
        ("response.content_part.done", {**place, "part": content}),
    ]


def _call(index: int, item: Json, call: Called) -> list[Event]:
    name, field = (
        ("response.custom_tool_call_input", "input")
        if call.custom
        else ("response.function_call_arguments", "arguments")
    )
    place = {"item_id": item["id"], "output_index": index}
    done = {**place, field: call.text} if call.custom else {**place, "name": call.name, field: call.text}
    return [*((f"{name}.delta", {**place, "delta": piece}) for piece in call.pieces), (f"{name}.done", done)]


def numbered(listed: Sequence[Event]) -> list[Frame]:
    """Frames with their sequence numbers; the last is the terminal one."""
    return [
        Frame(
            part=Part.TERMINAL if number == len(listed) - 1 else Part.CONTENT,
            event=name,
            payload={"type": name, "sequence_number": number, **payload},
        )
        for number, (name, payload) in enumerate(listed)
    ]
