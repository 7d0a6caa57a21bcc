"""Which operation a request is: creates and reads, by method and path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.data.call import Flag, Operation
from submeter.proxy.endpoint import find_endpoint


@pytest.mark.parametrize(
    ("path", "name", "usage_endpoint"),
    [
        ("/v1/chat/completions", "chat/completions", "completions"),
        ("/v1/completions", "completions", "completions"),
        ("/v1/engines/davinci/completions", "engines/{id}/completions", "completions"),
        ("/v1/responses", "responses", "completions"),
        ("/v1/responses/compact", "responses/compact", "completions"),
        ("/v1/decisions", "decisions", "decisions"),
        ("/v1/embeddings", "embeddings", "embeddings"),
        ("/v1/images/generations", "images/generations", "images"),
        ("/v1/images/edits", "images/edits", "images"),
        ("/v1/images/variations", "images/variations", "images"),
        ("/v1/audio/transcriptions", "audio/transcriptions", "audio_transcriptions"),
        ("/v1/audio/translations", "audio/translations", "audio_transcriptions"),
        ("/v1/audio/speech", "audio/speech", "audio_speeches"),
        ("/v1/moderations", "moderations", "moderations"),
        ("/v1/batches", "batches", None),
        ("/v1/videos", "videos", None),
        ("/v1/live/sessions/live_a/fork", "live/sessions/{id}/fork", None),
        ("/v1/fine_tuning/jobs", "fine_tuning/jobs", None),
        ("/v1/fine_tuning/alpha/graders/run", "fine_tuning/alpha/graders/run", None),
        ("/v1/threads/runs", "threads/runs", "completions"),
        ("/v1/threads/thread_a/runs", "threads/{id}/runs", "completions"),
    ],
)
def test_a_post_that_makes_work_is_a_create_billed_where_the_table_says(
    path: str, name: str, usage_endpoint: str | None
) -> None:
    endpoint = find_endpoint("POST", path)
    assert (endpoint.name, endpoint.usage_endpoint) == (name, usage_endpoint)
    assert endpoint.operation is Operation.CREATE
    assert endpoint.flags == ()


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/responses/resp_a", "responses/{id}"),
        ("GET", "/v1/chat/completions", "chat/completions"),
        ("POST", "/v1/chat/completions/chatcmpl-a", "chat/completions/{id}"),
        ("POST", "/v1/responses/resp_a/cancel", "responses/{id}/cancel"),
        ("POST", "/v1/responses/input_tokens", "responses/input_tokens"),
        ("GET", "/v1/batches/batch_a", "batches/{id}"),
        ("POST", "/v1/batches/batch_a/cancel", "batches/{id}/cancel"),
        ("POST", "/v1/files", "files"),
        ("POST", "/v1/uploads/upload_a/parts", "uploads/{id}/parts"),
        ("POST", "/v1/vector_stores/vs_a/search", "vector_stores/{id}/search"),
        ("POST", "/v1/threads/thread_a/messages", "threads/{id}/messages"),
        ("POST", "/v1/evals/eval_a/runs", "evals/{id}/runs"),
        ("POST", "/v1/evals/eval_a/runs/evalrun_a", "evals/{id}/runs/{id}"),
        ("POST", "/v1/realtime/client_secrets", "realtime/client_secrets"),
        ("POST", "/v1/evals/eval_a/runs/evalrun_a/cancel", "evals/{id}/runs/{id}/cancel"),
        ("POST", "/v1/traces/ingest", "traces/ingest"),
        ("POST", "/v1/webhook_endpoints/we_a/rotate_secret", "webhook_endpoints/{id}/rotate_secret"),
        ("POST", "/v1/vaults/vault_a/credentials", "vaults/{id}/credentials"),
        ("POST", "/v1/realtime/translations/client_secrets", "realtime/translations/client_secrets"),
        ("POST", "/v1/live/sessions/live_a/hangup", "live/sessions/{id}/hangup"),
        ("POST", "/v1/projects/proj_a/roles", "projects/{id}/roles"),
        ("POST", "/v1/agents", "agents"),
        ("POST", "/v1/agents/agent_a", "agents/{id}"),
        ("POST", "/v1/agents/environments/templates", "agents/environments/templates"),
        ("POST", "/v1/agents/sessions/asess_a", "agents/sessions/{id}"),
        ("POST", "/v1/organization/projects/proj_a/archive", "organization/projects"),
        ("GET", "/v1/organization/usage/completions", "organization/usage/completions"),
        ("DELETE", "/v1/models/ft:gpt-4o", "models/{id}"),
        ("HEAD", "/v1/nothing/we/know", None),
        ("OPTIONS", "/", None),
        ("GET", "/v1/nothing/we/know", None),
    ],
)
def test_what_lists_stores_counts_or_cancels_is_a_read(method: str, path: str, name: str | None) -> None:
    endpoint = find_endpoint(method, path)
    assert (endpoint.name, endpoint.operation) == (name, Operation.READ)
    assert endpoint.usage_endpoint is None
    assert endpoint.flags == ()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/chat/completions/",
        "//v1//chat///completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions",
        "/openai/deployments/v2/chat/completions",
        "/v1beta/openai/chat/completions",
        "/some/gateway/chat/completions",
        "/v1beta1/projects/p/locations/l/endpoints/openapi/chat/completions",
        "/agents/mine/chat/completions",
    ],
)
def test_what_stands_before_the_apis_own_path_does_not_matter(path: str) -> None:
    assert find_endpoint("POST", path).name == "chat/completions"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/agents/agent_a/turns"),
        ("POST", "/v1/chat/completions/a/b/c"),
        ("POST", "/v1/threads/thread_a/files"),
        ("POST", "/"),
        ("POST", ""),
        ("PUT", "/v1/responses"),
        ("PATCH", "/v1/unheard/of"),
    ],
)
def test_an_unknown_post_is_taken_for_a_create_and_flagged(method: str, path: str) -> None:
    endpoint = find_endpoint(method, path)
    assert (endpoint.name, endpoint.operation) == (None, Operation.CREATE)
    assert endpoint.flags == (Flag.UNKNOWN_ENDPOINT,)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/agents/sessions", "agents/sessions"),
        ("/v1/agents/sessions/asess_a/events", "agents/sessions/{id}/events"),
        ("/v1/agents/automations/auto_a/invocations", "agents/automations/{id}/invocations"),
    ],
)
def test_work_of_the_agents_api_is_a_create_whose_usage_may_be_anything(path: str, name: str) -> None:
    endpoint = find_endpoint("POST", path)
    assert (endpoint.name, endpoint.operation, endpoint.usage_endpoint) == (name, Operation.CREATE, None)
    assert endpoint.flags == (Flag.UNKNOWN_ENDPOINT,)


@pytest.mark.parametrize("before", ["/agents", "/models", "/v1/vaults", "/v1/webhook_endpoints"])
def test_a_create_is_found_where_a_path_before_it_would_take_its_name_for_an_id(before: str) -> None:
    assert find_endpoint("POST", f"{before}/embeddings").usage_endpoint == "embeddings"
    assert find_endpoint("POST", f"{before}/responses").operation is Operation.CREATE
    assert find_endpoint("POST", f"{before}/responses_a").operation is not Operation.CREATE


def test_a_path_that_begins_like_one_thing_of_ours_and_ends_like_a_read_of_another_stays_unknown() -> None:
    assert find_endpoint("POST", "/v1/vaults/vault_a/files").flags == (Flag.UNKNOWN_ENDPOINT,)


def test_a_literal_segment_goes_before_an_id() -> None:
    assert find_endpoint("POST", "/v1/responses/compact").operation is Operation.CREATE
    assert find_endpoint("POST", "/v1/responses/resp_compact").operation is Operation.READ


@given(st.text(max_size=10), st.text(alphabet=st.sampled_from("/v1chatompleinsrgf{}d%.é\x00"), max_size=80))
def test_any_method_and_path_is_some_operation(method: str, path: str) -> None:
    assert find_endpoint(method, path).operation in Operation
