"""Conversations, files, batches, vector stores, echoes, probabilities, names and scripts of the simulator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sim_asking import NOON, House, asked

from submeter.sim.books import State as EntryState
from submeter.sim.frame import Json
from submeter.sim.script import read_script

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HELLO: Json = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
ASK: Json = {"model": "gpt-4o-mini", "input": "hello"}


def test_how_a_stream_is_shown_does_not_change_what_it_costs() -> None:
    streams: list[Json] = [{}, {"stream_options": {"include_usage": True}}, {"stream_options": None}]
    costs = set()
    for options in streams:
        house = House(seed=3)
        house.events(CHAT, {**HELLO, **options})
        costs.add(house.state.books.entries[0].counts)
    assert len(costs) == 1


def test_a_response_follows_another_that_is_there_and_none_that_is_not() -> None:
    house = House()
    first = house.post(RESPONSES, {**ASK, "input": "a " * 4000})
    second = house.post(RESPONSES, {**ASK, "previous_response_id": first["id"]})
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > 4000
    status, error = house.refused(RESPONSES, {**ASK, "previous_response_id": "resp_nope"})
    assert (status, error["code"]) == (400, "previous_response_not_found")
    unstored = house.post(RESPONSES, {**ASK, "store": False})
    assert house.refused(RESPONSES, {**ASK, "previous_response_id": unstored["id"]})[0] == 400


def test_the_input_of_a_response_can_be_read_as_items() -> None:
    house = House()
    given = [{"role": "user", "content": "one"}, {"type": "function_call_output", "call_id": "c", "output": "2"}]
    name = house.post(RESPONSES, {**ASK, "input": given})["id"]
    items = house.get(f"/v1/responses/{name}/input_items?order=asc")["data"]
    assert [item["type"] for item in items] == ["message", "function_call_output"]
    assert items[0]["content"] == [{"type": "input_text", "text": "one"}]
    assert house.get(f"/v1/responses/{name}/input_items?limit=1")["has_more"] is True
    after = house.get(f"/v1/responses/{name}/input_items?order=asc&after={items[0]['id']}")
    assert [item["id"] for item in after["data"]] == [items[1]["id"]]
    assert house.refused("/v1/responses/resp_nope/input_items", method="GET")[0] == 404


def test_a_conversation_holds_what_was_asked_and_said_in_it() -> None:
    house = House()
    talk = house.post("/v1/conversations", {"items": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}})
    path = f"/v1/conversations/{talk['id']}"
    body = house.post(RESPONSES, {**ASK, "conversation": talk["id"]})
    assert body["conversation"] == {"id": talk["id"]}
    house.post(f"{path}/items", {"items": [{"role": "user", "content": "more"}]})
    items = house.get(f"{path}/items?order=asc")["data"]
    assert [item["role"] for item in items] == ["user", "user", "assistant", "user"]
    assert house.get(f"{path}/items/{items[0]['id']}") == items[0]
    house.delete(f"{path}/items/{items[0]['id']}")
    assert len(house.get(f"{path}/items")["data"]) == 3
    assert house.post(path, {"metadata": {"c": "d"}})["metadata"] == {"c": "d"}
    assert house.delete(path)["deleted"] is True
    assert house.refused(RESPONSES, {**ASK, "conversation": talk["id"]})[0] == 404
    assert len(house.state.books) == 1


def test_what_was_asked_is_repeated_in_the_response() -> None:
    asked_for: Json = {
        "parallel_tool_calls": False,
        "temperature": 0.2,
        "top_p": 0.5,
        "tool_choice": "none",
        "truncation": "auto",
        "max_tool_calls": 3,
        "user": "u",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "instructions": "be brief",
    }
    house = House()
    body = house.post(RESPONSES, {**ASK, **asked_for, "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}})
    assert {name: body[name] for name in asked_for} == asked_for
    assert body["reasoning"]["effort"] == "low"
    assert body["text"] == {"verbosity": "low", "format": {"type": "text"}}
    created = house.events(RESPONSES, {**ASK, "temperature": 0.2})[0]["response"]
    assert created["temperature"] == 0.2
    assert house.refused(RESPONSES, {**ASK, "temperature": "hot"})[1]["code"] == "invalid_type"


@pytest.mark.parametrize(
    ("model", "width"),
    [("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536)],
)
def test_an_embedding_has_its_model_s_size_and_length_one(model: str, width: int) -> None:
    (one,) = House().post("/v1/embeddings", {"model": model, "input": "x"})["data"]
    assert len(one["embedding"]) == width
    assert sum(number * number for number in one["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_an_embedding_is_shortened_only_where_its_model_can_be() -> None:
    house = House()
    ask = {"model": "text-embedding-3-small", "input": "x", "dimensions": 256}
    assert len(house.post("/v1/embeddings", ask)["data"][0]["embedding"]) == 256
    assert house.refused("/v1/embeddings", {**ask, "dimensions": 1537})[1]["param"] == "dimensions"
    assert house.refused("/v1/embeddings", {**ask, "model": "text-embedding-ada-002"})[0] == 400


def test_the_probability_of_each_token_is_told_where_it_is_asked_for() -> None:
    house = House()
    choice = house.post(CHAT, {**HELLO, "logprobs": True, "top_logprobs": 2})["choices"][0]
    told = choice["logprobs"]["content"]
    assert "".join(one["token"] for one in told) == choice["message"]["content"]
    assert all(len(one["top_logprobs"]) == 2 and one["bytes"] == list(one["token"].encode()) for one in told)
    streamed = house.events(CHAT, {**HELLO, "logprobs": True})
    parts = [e["choices"][0] for e in streamed if e["choices"][0]["delta"].get("content")]
    assert all(part["logprobs"]["content"][0]["token"] == part["delta"]["content"] for part in parts)
    assert house.post(CHAT, HELLO)["choices"][0]["logprobs"] is None
    assert house.refused(CHAT, {**HELLO, "top_logprobs": 2})[1]["param"] == "top_logprobs"
    assert house.refused(CHAT, {**HELLO, "logprobs": True, "top_logprobs": 21})[0] == 400
    body = house.post(RESPONSES, {**ASK, "include": ["message.output_text.logprobs"]})
    content = body["output"][-1]["content"][0]
    assert "".join(one["token"] for one in content["logprobs"]) == content["text"]
    legacy = house.post("/v1/completions", {"model": "davinci-002", "prompt": "x", "logprobs": 1})["choices"][0]
    assert "".join(legacy["logprobs"]["tokens"]) == legacy["text"]


def test_an_answer_ends_before_a_text_that_shall_stop_it() -> None:
    house = House(words_max=200)
    for number in range(10):
        choice = house.post(CHAT, {**HELLO, "stop": ["the", " a"], "user": str(number)})["choices"][0]
        assert "the" not in choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
    assert house.state.books.entries[0].counts.output_tokens < 100


def test_files_are_kept_and_read_again() -> None:
    house = House()
    file = house.upload("notes.txt", b"the meter reads", purpose="assistants")
    assert (file["filename"], file["bytes"], file["purpose"]) == ("notes.txt", 15, "assistants")
    assert house.get("/v1/files?purpose=assistants")["data"] == [file]
    assert house.get("/v1/files?purpose=batch")["data"] == []
    assert asked(house.state, "GET", f"/v1/files/{file['id']}/content", b"").body == b"the meter reads"
    assert house.delete(f"/v1/files/{file['id']}") == {"id": file["id"], "object": "file", "deleted": True}
    assert house.refused(f"/v1/files/{file['id']}", method="GET")[0] == 404
    assert len(house.state.books) == 0


def batch(house: House, lines: list[str]) -> Json:
    file = house.upload("in.jsonl", "\n".join(lines).encode(), purpose="batch")
    asked_for = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    return house.post("/v1/batches", asked_for)


def line(number: int, body: Json) -> str:
    return json.dumps({"custom_id": f"c-{number}", "method": "POST", "url": CHAT, "body": body})


def test_a_batch_is_done_after_a_while_and_its_calls_are_billed_as_batch_work() -> None:
    house = House(background_s=60.0, late_share=0.0, lag=0.0)
    lines = [line(0, HELLO), line(1, {**HELLO, "stream": True}), line(2, {**HELLO, "model": "gpt-0"}), "{not json"]
    made = batch(house, lines)
    assert (made["status"], made["output_file_id"], made["usage"]["total_tokens"]) == ("validating", None, 0)
    house.clock[0] += 30
    assert house.get(f"/v1/batches/{made['id']}")["status"] == "in_progress"
    house.clock[0] += 30
    done = house.get(f"/v1/batches/{made['id']}")
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    entries = house.state.books.entries
    assert [(entry.batch, entry.billed) for entry in entries] == [(True, True)] * 2
    assert done["usage"]["total_tokens"] == sum(entry.counts.total_tokens for entry in entries)
    assert {posted.minute for posted in house.state.books.lines} == {NOON + 60}
    written = asked(house.state, "GET", f"/v1/files/{done['output_file_id']}/content", b"").body.splitlines()
    assert [json.loads(one)["custom_id"] for one in written] == ["c-0", "c-1"]
    assert house.get("/v1/batches")["data"] == [done]
    assert house.refused(f"/v1/batches/{made['id']}/cancel", {})[0] == 409


def test_a_batch_that_is_cancelled_in_time_is_not_billed() -> None:
    house = House(background_s=60.0)
    made = batch(house, [line(0, HELLO)])
    assert house.post(f"/v1/batches/{made['id']}/cancel", {})["status"] == "cancelled"
    house.clock[0] += 90
    assert house.get(f"/v1/batches/{made['id']}")["status"] == "cancelled"
    assert house.state.books.lines == ()
    assert house.state.books.entries[0].state is EntryState.ABORTED


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": "file-no"}, "input_file_id"),
        ({"endpoint": "/v1/x"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
    ],
)
def test_a_batch_of_nothing_is_refused(change: Json, param: str) -> None:
    house = House()
    file = house.upload("in.jsonl", b"", purpose="batch")
    ask = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h", **change}
    assert house.refused("/v1/batches", ask)[1]["param"] == param


def test_a_vector_store_finds_the_words_of_a_question_in_its_files() -> None:
    house = House()
    one = house.upload("a.txt", b"the kitchen used nine", purpose="assistants")
    two = house.upload("b.txt", b"the garden used two", purpose="assistants")
    store = house.post("/v1/vector_stores", {"name": "rooms", "file_ids": [one["id"]]})
    path = f"/v1/vector_stores/{store['id']}"
    assert house.post(f"{path}/files", {"file_id": two["id"]})["status"] == "completed"
    assert house.get(path)["file_counts"]["completed"] == 2
    found = house.post(f"{path}/search", {"query": "garden used"})["data"]
    assert [hit["filename"] for hit in found] == ["b.txt", "a.txt"]
    many = house.post(f"{path}/file_batches", {"file_ids": [one["id"], two["id"]]})
    assert house.get(f"{path}/file_batches/{many['id']}")["status"] == "completed"
    house.delete(f"{path}/files/{one['id']}")
    assert [held["id"] for held in house.get(f"{path}/files")["data"]] == [two["id"]]
    assert house.post(path, {"name": "others"})["name"] == "others"
    assert house.get("/v1/vector_stores")["data"][0]["name"] == "others"
    assert house.refused(f"{path}/files", {"file_id": "file-no"})[0] == 404
    assert house.delete(path)["deleted"] is True
    assert len(house.state.books) == 0


def test_a_stored_completion_tells_what_was_asked_until_it_is_deleted() -> None:
    house = House()
    body = house.post(CHAT, {**HELLO, "store": True, "temperature": 0.5})
    path = f"{CHAT}/{body['id']}"
    assert house.get(path)["temperature"] == 0.5
    (message,) = house.get(f"{path}/messages")["data"]
    assert (message["role"], message["content"]) == ("user", "hello")
    assert house.delete(path)["deleted"] is True
    assert house.refused(path, method="GET")[0] == 404
    assert house.refused(f"{path}/messages", method="GET")[0] == 404


def test_a_secret_that_a_key_minted_calls_as_that_key() -> None:
    house = House()
    minted = house.post("/v1/realtime/client_secrets", {"session": {"type": "realtime", "model": "gpt-realtime"}})
    assert minted["value"].startswith("ek_")
    reply = asked(house.state, "POST", CHAT, json.dumps(HELLO).encode(), secret=minted["value"])
    assert reply.status == 200
    assert [entry.api_key_id for entry in house.state.books.entries] == ["key_sim0001"]
    assert house.refused("/v1/realtime/client_secrets", {"session": {"model": "gpt-0"}})[0] == 400


def test_a_search_is_an_item_of_its_response_and_has_its_own_events() -> None:
    house = House()
    ask = {**ASK, "tools": [{"type": "web_search"}]}
    body = house.post(RESPONSES, ask)
    items = [item["type"] for item in body["output"]]
    assert items.count("web_search_call") == body["tool_usage"]["web_search"]["num_requests"] > 0
    assert items[-1] == "message"
    events = [event["type"] for event in house.events(RESPONSES, ask)]
    assert events.count("response.web_search_call.completed") == events.count("response.web_search_call.searching") > 0


def test_traces_are_taken_in_silence() -> None:
    house = House()
    reply = asked(house.state, "POST", "/v1/traces/ingest", b'{"data": []}')
    assert (reply.status, reply.body) == (204, b"")
    assert house.refused("/v1/traces/ingest", {})[0] == 400
    assert len(house.state.books) == 0


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("gpt-5.4-mini", "gpt-5.4-mini-2026-03-17"),
        ("gpt-6-sol", "gpt-6-sol"),
        ("o1", "o1-2024-12-17"),
        ("gpt-3.5-turbo-16k", "gpt-3.5-turbo-16k-0613"),
        ("gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
    ],
)
def test_a_model_of_today_is_served(model: str, served: str) -> None:
    assert House().post(CHAT, {**HELLO, "model": model})["model"] == served


def test_any_name_is_a_model_where_that_is_switched_on_and_only_there() -> None:
    house = House(any_model=True)
    assert house.post(CHAT, {**HELLO, "model": "ft:gpt-4o:me::1"})["model"] == "ft:gpt-4o:me::1"
    assert house.post("/v1/embeddings", {"model": "my-embedding", "input": "x"})["model"] == "my-embedding"
    assert house.get("/v1/models/anything")["id"] == "anything"
    assert House().refused(CHAT, {**HELLO, "model": "ft:gpt-4o:me::1"})[0] == 404


def scripted(*entries: Json) -> House:
    return House(script=read_script(json.dumps(entries)))


def test_a_script_answers_in_its_order_and_then_falls_silent() -> None:
    house = scripted({"say": "one"}, {"when": "hello", "say": {"two": 2}}, {"when": "elsewhere", "say": "never"})
    said = [house.post(CHAT, HELLO)["choices"][0]["message"]["content"] for _ in range(3)]
    assert said[:2] == ["one", '{"two": 2}']
    assert said[2] not in ("one", "never")
    assert house.state.books.entries[0].counts.output_tokens == 1


def test_a_script_calls_functions_and_repeats_itself_as_often_as_it_says() -> None:
    call = {"name": "f", "arguments": {"room": "kitchen"}}
    house = scripted({"when": "hello", "call": [call, call], "say": "wait", "times": 0}, {"say": "bye"})
    for _ in range(3):
        body = house.post(RESPONSES, ASK)
        assert [item["type"] for item in body["output"]] == ["message", "function_call", "function_call"]
        assert json.loads(body["output"][1]["arguments"]) == {"room": "kitchen"}
    message = house.post(CHAT, HELLO)["choices"][0]["message"]
    assert (message["content"], len(message["tool_calls"])) == ("wait", 2)
    assert house.post(RESPONSES, {**ASK, "input": "other"})["output"][0]["content"][0]["text"] == "bye"
    searching = {**ASK, "tools": [{"type": "web_search"}]}
    assert house.post(RESPONSES, searching)["output"][0]["type"] == "message"
    old = scripted({"say": "once"}).post("/v1/completions", {"model": "davinci-002", "prompt": "x"})
    assert old["choices"][0]["text"] == "once"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        ("[1]", "answer 1"),
        ('[{"say": "x", "wen": "y"}]', "wen"),
        ('[{"when": "y"}]', "neither says nor calls"),
        ('[{"say": "x", "times": -1}]', "'times'"),
        ('[{"say": "x"}, {"call": {"arguments": {}}}]', "answer 2"),
    ],
)
def test_a_script_that_cannot_be_read_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_script(text)


def test_the_command_refuses_a_script_that_it_cannot_use(tmp_path: Path) -> None:
    missing: Any = tmp_path / "none.json"
    command = [sys.executable, "-m", "submeter.sim", "--script", str(missing)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot use the script" in done.stderr
