"""Whatever is asked, the simulator answers: its own bugs must not look like the service's failures."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from submeter.sim.frame import Answer
from submeter.sim.service import NOBODY, Received, answer
from submeter.sim.settings import Settings
from submeter.sim.state import State

NOON = 1_795_348_800.0
NAMES = [
    *("model", "messages", "input", "prompt", "stream", "stream_options", "n", "tools", "tool_choice", "max_tokens"),
    *("max_output_tokens", "store", "background", "metadata", "service_tier", "dimensions", "encoding_format", "size"),
    *("instructions", "partial_images", "stream_format", "functions", "response_format", "text", "conversation"),
    *("previous_response_id", "logprobs", "top_logprobs", "stop", "reasoning", "items", "data", "file_ids", "query"),
    *("input_file_id", "endpoint", "include"),
]
MODELS = ["gpt-4o-mini", "gpt-5.6", "davinci-002", "text-embedding-3-small", "gpt-image-1", "tts-1", "gpt-4o-mini-tts"]
PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/responses/compact",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/chat/completions/chatcmpl-x",
    "/v1/responses/resp_x/cancel",
    "/v1/conversations",
    "/v1/files",
    "/v1/batches",
    "/v1/vector_stores",
    "/v1/vector_stores/vs_x/search",
    "/v1/traces/ingest",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "type"]), inner, max_size=3),
    max_leaves=8,
)


def ask(state: State, method: str, target: str, raw: bytes, secret: str = "sk-sim-0001") -> Answer:
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    received = Received(
        method=method, target=target, headers=headers, raw=raw, at=NOON, request_id=state.next_request_id()
    )
    reply, key = answer(state, received)
    assert (key is NOBODY) == (secret != "sk-sim-0001")
    return reply


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    model=st.sampled_from(MODELS),
    body=st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6),
)
def test_no_body_makes_it_stumble(path: str, model: str, body: dict[str, Any]) -> None:
    state = State(Settings(now=lambda: NOON))
    reply = ask(state, "POST", path, json.dumps({"model": model, **body}).encode())
    assert reply.status in (200, 204, 400, 404)
    assert (reply.entry is not None) <= (reply.status == 200)
    assert b"".join(frame.encode() for frame in reply.frames) if reply.frames else reply.body or reply.status == 204


@settings(max_examples=200, deadline=None)
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(
                ["start_time", "end_time", "limit", "page", "bucket_width", "group_by", "group_by[]", "batch", "models"]
            ),
            st.sampled_from(["0", "-1", "1795348800", "1795350000", "1m", "1h", "model", "true", "x", "", "1e9", "²"]),
        ),
        max_size=6,
    )
)
def test_no_question_to_the_usage_api_makes_it_stumble(query: list[tuple[str, str]]) -> None:
    state = State(Settings(now=lambda: NOON))
    target = "/v1/organization/usage/completions?" + "&".join(f"{name}={value}" for name, value in query)
    assert ask(state, "GET", target, b"", secret="sk-admin-sim").status in (200, 400)
