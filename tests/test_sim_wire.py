"""What the simulator sends, and that its books say the same."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from submeter.sim import Key, Sim
from submeter.sim.books import State
from submeter.sim.client import Client

NOON = 1_795_348_800.0
SCHEMAS = Path(__file__).resolve().parents[2] / "shared" / "facts" / "openai-usage-schemas.json"
HELLO = [{"role": "user", "content": "Say something about meters."}]


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(now=lambda: NOON + 7.25, seed=11, silent_cached=0.0) as started:
        yield started


@pytest.fixture
def client(sim: Sim) -> Client:
    return Client(url=sim.url, secret="sk-sim-0001")


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": HELLO, **more}


def test_a_chat_completion_tells_what_its_entry_holds(sim: Sim, client: Client) -> None:
    reply = client.post("/v1/chat/completions", chat())
    (entry,) = sim.books.entries
    usage = reply.json()["usage"]
    assert usage["prompt_tokens"] == entry.counts.input_tokens
    assert usage["completion_tokens"] == entry.counts.output_tokens
    assert usage["prompt_tokens_details"]["cached_tokens"] == entry.counts.cached_tokens
    assert reply.json()["model"] == "gpt-4o-mini-2024-07-18" == entry.model
    assert reply.json()["id"] == entry.response_id
    assert reply.json()["created"] == int(NOON) + 7


def test_headers_are_those_of_the_service_and_the_date_is_the_given_clocks(client: Client) -> None:
    headers = client.post("/v1/chat/completions", chat()).headers
    assert headers["date"] == "Sun, 22 Nov 2026 12:00:07 GMT"
    assert headers["content-type"] == "application/json"
    assert "content-length" in headers
    assert "transfer-encoding" not in headers
    assert "server" not in headers
    assert re.fullmatch("req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-organization"] == "org-sim"
    assert headers["openai-project"] == "proj_sim"


def test_equal_requests_cost_unequal_tokens_and_the_same_seed_gives_the_same_books() -> None:
    books = []
    for _ in range(2):
        with Sim(now=lambda: NOON, seed=5) as sim:
            for _ in range(6):
                Client(url=sim.url, secret="sk-sim-0001").post("/v1/chat/completions", chat())
            assert sim.wait_idle()
            books.append(sim.books.entries)
    assert books[0] == books[1]
    assert len({entry.counts.total_tokens for entry in books[0]}) == 6


def test_a_chat_stream_has_null_usage_on_every_chunk_but_one_without_choices(sim: Sim, client: Client) -> None:
    reply = client.post("/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True}))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.body.endswith(b"data: [DONE]\n\n")
    *chunks, last = reply.events()
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens
    assert all("obfuscation" in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_chat_stream_that_did_not_ask_says_nothing_of_usage_and_is_billed(sim: Sim, client: Client) -> None:
    reply = client.post("/v1/chat/completions", chat(stream=True, stream_options={"include_obfuscation": False}))
    assert b"usage" not in reply.body
    assert b"obfuscation" not in reply.body
    (entry,) = sim.books.entries
    assert entry.billed
    assert not entry.usage_told


def test_several_choices_share_one_usage(sim: Sim, client: Client) -> None:
    reply = client.post("/v1/chat/completions", chat(n=3, stream=True, stream_options={"include_usage": True}))
    assert {choice["index"] for event in reply.events() for choice in event["choices"]} == {0, 1, 2}
    assert sum("usage" in event and event["usage"] is not None for event in reply.events()) == 1
    assert sim.books.entries[0].counts.requests == 1


def test_a_limit_of_output_tokens_is_kept(sim: Sim, client: Client) -> None:
    body = client.post("/v1/chat/completions", chat(model="gpt-5", max_completion_tokens=2)).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2


def test_a_function_is_called_when_the_caller_insists(client: Client) -> None:
    tools = [{"type": "function", "function": {"name": "read_meter", "parameters": {}}}]
    asked = chat(tools=tools, tool_choice="required")
    choice = client.post("/v1/chat/completions", asked).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "read_meter"
    streamed = client.post("/v1/chat/completions", {**asked, "stream": True}).events()
    assert any("tool_calls" in event["choices"][0]["delta"] for event in streamed)


def test_some_chat_usages_leave_out_the_details_of_the_prompt() -> None:
    with Sim(now=lambda: NOON, silent_cached=0.5) as sim:
        client = Client(url=sim.url, secret="sk-sim-0001")
        told = [
            "prompt_tokens_details" in client.post("/v1/chat/completions", chat()).json()["usage"] for _ in range(9)
        ]
        assert set(told) == {True, False}
        assert [not entry.cached_silent for entry in sim.books.entries] == told


def test_legacy_completions_tell_three_counts_and_no_tier(sim: Sim, client: Client) -> None:
    asked = {"model": "babbage-002", "prompt": "def fib(n):"}
    body = client.post("/v1/completions", asked).json()
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert "service_tier" not in body
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.post("/v1/completions", {**asked, **options}).events()
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["usage"]["completion_tokens"] == sim.books.entries[1].counts.output_tokens


def test_a_response_tells_what_its_entry_holds_in_json_and_in_its_last_event(sim: Sim, client: Client) -> None:
    asked = {"model": "gpt-5.6", "input": "Say something."}
    body = client.post("/v1/responses", asked).json()
    events = client.post("/v1/responses", {**asked, "stream": True}).events()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert all(event["response"]["usage"] is None for event in events[:2])
    assert events[-1]["type"] == "response.completed"
    assert any("obfuscation" in event for event in events)
    for response, entry in zip((body, events[-1]["response"]), sim.books.entries, strict=True):
        assert response["id"] == entry.response_id
        assert response["usage"]["input_tokens"] == entry.counts.input_tokens
        assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == entry.counts.reasoning
        assert response["usage"]["input_tokens_details"]["cache_write_tokens"] == entry.counts.cache_write
        assert response["model"] == "gpt-5.6-sol"


def test_a_response_cut_by_its_limit_ends_incomplete(client: Client) -> None:
    asked = {"model": "gpt-4o", "input": "x", "max_output_tokens": 1, "stream": True}
    last = client.post("/v1/responses", asked).events()[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["usage"]["output_tokens"] == 1


def test_a_background_response_is_silent_until_done_and_billed_once() -> None:
    clock = [NOON]
    with Sim(now=lambda: clock[0], background_s=60.0, late_share=0.0, lag=0.0) as sim:
        client = Client(url=sim.url, secret="sk-sim-0001")
        queued = client.post("/v1/responses", {"model": "gpt-5", "input": "x", "background": True}).json()
        assert (queued["status"], queued["usage"]) == ("queued", None)
        clock[0] += 45
        assert client.get(f"/v1/responses/{queued['id']}").json()["status"] == "in_progress"
        clock[0] += 45
        done = client.get(f"/v1/responses/{queued['id']}").json()
        assert done["status"] == "completed"
        (entry,) = sim.books.entries
        assert done["usage"]["total_tokens"] == entry.counts.total_tokens
        assert sim.books.lines[0].minute == NOON + 60


def test_a_background_response_that_is_cancelled_is_not_billed() -> None:
    with Sim(now=lambda: NOON) as sim:
        client = Client(url=sim.url, secret="sk-sim-0001")
        queued = client.post("/v1/responses", {"model": "gpt-5", "input": "x", "background": True}).json()
        assert client.post(f"/v1/responses/{queued['id']}/cancel", {}).json()["status"] == "cancelled"
        assert sim.books.lines == ()
        assert sim.books.entries[0].state is State.ABORTED


def test_reading_stored_work_again_adds_nothing_to_the_books(sim: Sim, client: Client) -> None:
    response = client.post("/v1/responses", {"model": "gpt-5", "input": "x", "stream": True}).events()[-1]["response"]
    stored = client.post("/v1/chat/completions", chat(store=True)).json()
    path = f"/v1/chat/completions/{stored['id']}"
    assert client.get(f"/v1/responses/{response['id']}").json()["usage"] == response["usage"]
    resumed = client.get(f"/v1/responses/{response['id']}?stream=true&starting_after=3").events()
    assert resumed[0]["sequence_number"] == 4
    assert resumed[-1]["response"]["usage"] == response["usage"]
    assert client.get(path).json()["usage"] == stored["usage"]
    assert client.get("/v1/chat/completions").json()["data"][0]["usage"] == stored["usage"]
    edited = client.post(path, {"metadata": {"note": "mine"}}).json()
    assert (edited["usage"], edited["metadata"]) == (stored["usage"], {"note": "mine"})
    assert client.post("/v1/responses/input_tokens", {"model": "gpt-5", "input": "a b"}).json()["input_tokens"] > 0
    assert len(sim.books) == 2


def test_a_compaction_is_billed_and_has_no_model(sim: Sim, client: Client) -> None:
    body = client.post("/v1/responses/compact", {"model": "gpt-5", "input": "x"}).json()
    assert body["object"] == "response.compaction"
    assert "model" not in body
    assert body["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens


def test_a_decision_is_billed_on_its_own_endpoint_and_has_no_id(sim: Sim, client: Client) -> None:
    body = client.post("/v1/decisions", {"model": "gpt-6-luna", "input": "Is it on?"}).json()
    assert "id" not in body
    assert body["usage"]["total_tokens"] == sim.books.total(usage_endpoint="decisions").total_tokens > 0


USAGES: list[tuple[str, str, dict[str, Any]]] = [
    ("CompletionUsage", "/v1/chat/completions", {"model": "gpt-5.6", "messages": HELLO}),
    ("CreateEmbeddingResponse.usage", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}),
    ("ResponseUsage", "/v1/responses", {"model": "gpt-5.6", "input": "x"}),
    ("ImageGenUsage", "/v1/images/generations", {"model": "gpt-image-1", "prompt": "x"}),
]


@pytest.mark.parametrize(("name", "path", "body"), USAGES, ids=[name for name, _, _ in USAGES])
def test_usage_objects_fit_the_published_schemas(client: Client, name: str, path: str, body: dict[str, Any]) -> None:
    if not SCHEMAS.exists():
        pytest.skip("the published schemas are not beside this repository")
    published = json.loads(SCHEMAS.read_text())["openapi_spec"]["usage_objects"]
    (schema,) = (published[key] for key in published if key.split(" ")[0] == name)
    jsonschema.validate(client.post(path, body).json()["usage"], {**schema, "additionalProperties": False})


def test_a_hosted_search_is_told_beside_the_usage_and_billed_by_the_call(sim: Sim, client: Client) -> None:
    asked = {"model": "gpt-5", "input": "x", "tools": [{"type": "web_search"}]}
    searches = client.post("/v1/responses", asked).json()["tool_usage"]["web_search"]["num_requests"]
    assert sim.books.total(usage_endpoint="web_search_calls").tool_calls == searches > 0


def test_embeddings_come_as_floats_or_base64_without_an_id(sim: Sim, client: Client) -> None:
    asked = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
    plain = client.post("/v1/embeddings", asked).json()
    coded = client.post("/v1/embeddings", {**asked, "encoding_format": "base64"}).json()
    assert [len(item["embedding"]) for item in plain["data"]] == [4, 4]
    assert len(struct.unpack("<4f", base64.b64decode(coded["data"][0]["embedding"]))) == 4
    assert "id" not in plain
    assert plain["usage"]["prompt_tokens"] == sim.books.entries[0].counts.input_tokens
    client.post("/v1/embeddings", {"model": "text-embedding-ada-002", "input": "a"})
    assert sim.books.entries[-1].model == "text-embedding-ada-002-v2"


def test_moderations_are_billed_in_silence(sim: Sim, client: Client) -> None:
    assert "usage" not in client.post("/v1/moderations", {"input": "hello"}).json()
    assert sim.books.total(usage_endpoint="moderations").input_tokens > 0


def test_images_tell_tokens_only_for_image_models_and_are_billed_by_the_image(sim: Sim, client: Client) -> None:
    asked = {"model": "gpt-image-1", "prompt": "a meter", "n": 2}
    body = client.post("/v1/images/generations", asked).json()
    assert body["usage"]["output_tokens"] == sim.books.entries[0].counts.output_tokens
    assert not {"id", "model"} & set(body)
    assert "usage" not in client.post("/v1/images/generations", {**asked, "model": "dall-e-2"}).json()
    last = client.post("/v1/images/generations", {**asked, "n": 1, "stream": True}).events()[-1]
    assert last["type"] == "image_generation.completed"
    assert "output_tokens_details" not in last["usage"]
    edited = client.form("/v1/images/edits", {"model": "gpt-image-1", "prompt": "redder"}, {"image": b"png"}).json()
    assert edited["usage"]["input_tokens_details"]["image_tokens"] > 0
    assert sim.books.total(usage_endpoint="images").images == 2 + 2 + 1 + 1
    assert sim.books.entries[-1].source == "image.edit"


def test_transcriptions_tell_tokens_or_seconds_or_nothing(sim: Sim, client: Client) -> None:
    def hear(**fields: str) -> Any:
        reply = client.form("/v1/audio/transcriptions", fields, {"file": b"sound" * 9000})
        assert reply.status == 200
        return reply

    tokens = hear(model="gpt-4o-transcribe").json()["usage"]
    assert tokens["type"] == "tokens"
    assert tokens["input_token_details"]["audio_tokens"] == sim.books.entries[0].counts.input_audio
    seconds = hear(model="whisper-1", response_format="verbose_json").json()["usage"]
    assert seconds == {"type": "duration", "seconds": sim.books.entries[1].counts.seconds}
    text = hear(model="whisper-1", response_format="text")
    assert text.headers["content-type"].startswith("text/plain")
    last = hear(model="gpt-4o-mini-transcribe", stream="true").events()[-1]
    assert last["type"] == "transcript.text.done"
    assert last["usage"]["total_tokens"] == sim.books.entries[3].counts.total_tokens
    assert "usage" not in client.form("/v1/audio/translations", {"model": "whisper-1"}, {"file": b"x"}).json()


def test_speech_is_sound_unless_events_are_asked_for(sim: Sim, client: Client) -> None:
    asked = {"model": "gpt-4o-mini-tts", "input": "Read the meter.", "voice": "nova"}
    assert client.post("/v1/audio/speech", asked).headers["content-type"] == "audio/mpeg"
    last = client.post("/v1/audio/speech", {**asked, "stream_format": "sse"}).events()[-1]
    assert last["type"] == "speech.audio.done"
    assert last["usage"]["total_tokens"] == sim.books.entries[1].counts.total_tokens
    assert sim.books.total(usage_endpoint="audio_speeches").characters == 2 * len("Read the meter.")


def test_models_are_listed_by_alias_and_snapshot(client: Client) -> None:
    names = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert {"gpt-4o-mini", "gpt-4o-mini-2024-07-18", "text-embedding-3-small"} <= names
    assert client.get("/v1/models/gpt-5").json()["id"] == "gpt-5"
    assert client.get("/v1/models/gpt-0").json()["error"]["code"] == "model_not_found"


def test_refusals_read_like_the_services_and_cost_nothing(sim: Sim, client: Client) -> None:
    stranger = Client(url=sim.url, secret="sk-invented-by-nobody")
    wrong = stranger.post("/v1/chat/completions", chat())
    assert wrong.status == 401
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "sk-inven*********body" in wrong.json()["error"]["message"]
    missing = client.send("POST", "/v1/chat/completions", b"{}", {"Authorization": ""})
    assert missing.status == 401
    unknown = client.post("/v1/chat/completions", chat(model="gpt-0"))
    assert (unknown.status, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert client.post("/v1/responses", {"model": "gpt-0"}).status == 400
    assert client.post("/v1/completions", {"model": "gpt-4o", "prompt": "x"}).status == 404
    garbage = client.send("POST", "/v1/chat/completions", b"{not json", {})
    assert garbage.status == 400
    assert garbage.json()["error"]["message"].startswith("We could not parse the JSON body")
    options = client.post("/v1/chat/completions", chat(stream_options={"include_usage": True}))
    assert (options.status, options.json()["error"]["param"]) == (400, "stream_options")
    assert client.post("/v1//chat/completions", chat()).status == 404
    assert client.get("/v1/embeddings").status == 405
    assert sim.books.entries == ()


@pytest.mark.parametrize(
    ("asked", "served"), [(None, "default"), ("auto", "default"), ("flex", "flex"), ("fast", "priority")]
)
def test_the_tier_that_served_is_told_and_booked(sim: Sim, client: Client, asked: str | None, served: str) -> None:
    more = {} if asked is None else {"service_tier": asked}
    assert client.post("/v1/chat/completions", chat(**more)).json()["service_tier"] == served
    assert sim.books.entries[0].service_tier == served


def test_the_books_keep_attempt_path_and_request_id(sim: Sim, client: Client) -> None:
    reply = client.post("/v1/responses?beta=true", {"model": "gpt-5", "input": "x"}, {"X-Stainless-Retry-Count": "2"})
    assert sim.wait_idle()
    (entry,) = sim.books.entries
    assert (entry.attempt, entry.path) == ("2", "/v1/responses?beta=true")
    assert entry.request_id == reply.headers["x-request-id"]
    assert (entry.state, entry.delivered, entry.billed) == (State.COMPLETED, True, True)
    assert sim.received[0].headers["x-stainless-retry-count"] == "2"


def test_each_key_has_its_own_id_project_and_organization() -> None:
    keys = [
        Key(secret="sk-a", api_key_id="key_a", project_id="proj_a"),
        Key(secret="sk-b", api_key_id="key_b", project_id="proj_b", tracked=False),
    ]
    with Sim(now=lambda: NOON, keys=keys) as sim:
        for secret in ("sk-a", "sk-b"):
            reply = Client(url=sim.url, secret=secret).post("/v1/chat/completions", chat())
            assert reply.headers["openai-project"] == f"proj_{secret[-1]}"
        assert [entry.api_key_id for entry in sim.books.entries] == ["key_a", None]
