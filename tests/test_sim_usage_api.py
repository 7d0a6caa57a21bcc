"""The simulator's organization Usage API: its questions, its pages, and that they are the books, late."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest

from submeter.sim import Counts, Fault, FaultKind, Key, Sim
from submeter.sim.client import Client, Reply

NOON = 1_795_348_800
SCHEMAS = Path(__file__).resolve().parents[2] / "shared" / "facts" / "openai-usage-schemas.json"
ADMIN = "sk-admin-sim"
KEYS = [
    Key(secret="sk-a", api_key_id="key_a", project_id="proj_a"),
    Key(secret="sk-b", api_key_id="key_b", project_id="proj_b"),
]


class World:
    """A simulator, its clock, and calls made minute by minute."""

    def __init__(self, **settings: Any) -> None:
        self.clock = float(NOON)
        self.sim = Sim(now=lambda: self.clock, keys=KEYS, admin_key=ADMIN, **settings)

    def call(self, secret: str, path: str, body: dict[str, Any]) -> None:
        assert Client(url=self.sim.url, secret=secret).post(path, body).status == 200

    def work(self, minutes: int = 4) -> None:
        """Two chats, a response, an embedding, an image and a moderation a minute."""
        for minute in range(minutes):
            self.clock = NOON + 60 * minute + 20.5
            for secret in ("sk-a", "sk-b"):
                ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"{minute}"}]}
                self.call(secret, "/v1/chat/completions", ask)
            self.call("sk-a", "/v1/responses", {"model": "gpt-5.6", "input": "x"})
            self.call("sk-a", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"})
            self.call("sk-b", "/v1/images/generations", {"model": "gpt-image-1", "prompt": "x"})
            self.call("sk-b", "/v1/moderations", {"input": "x"})

    def ask(self, endpoint: str, secret: str = ADMIN, **query: Any) -> Reply:
        pairs = [(name, v) for name, value in query.items() for v in (value if isinstance(value, list) else [value])]
        brackets = [(f"{name}[]" if name in ("group_by", "api_key_ids", "models") else name, v) for name, v in pairs]
        return Client(url=self.sim.url, secret=secret).get(f"/v1/organization/{endpoint}?{urlencode(brackets)}")

    def rows(self, endpoint: str, **query: Any) -> list[tuple[int, dict[str, Any]]]:
        """Every row with its bucket's start, over all pages."""
        found: list[tuple[int, dict[str, Any]]] = []
        page: dict[str, Any] = {}
        while True:
            asked = {"start_time": NOON, "end_time": NOON + 7200, "bucket_width": "1m", **query, **page}
            body = self.ask(f"usage/{endpoint}", **asked).json()
            found += [(bucket["start_time"], row) for bucket in body["data"] for row in bucket["results"]]
            if not body["has_more"]:
                return found
            page = {"page": body["next_page"]}


@pytest.fixture
def world() -> Iterator[World]:
    made = World(seed=3, lag=600.0)
    with made.sim:
        yield made


def test_at_infinite_lag_the_buckets_of_every_endpoint_are_the_books(world: World) -> None:
    world.work()
    world.clock = NOON + 86_400
    fields = {
        "completions": {
            "input_tokens": "input_tokens",
            "input_cached_tokens": "cached_tokens",
            "input_cache_write_tokens": "cache_write",
            "output_tokens": "output_tokens",
            "num_model_requests": "requests",
        },
        "embeddings": {"input_tokens": "input_tokens", "num_model_requests": "requests"},
        "moderations": {"input_tokens": "input_tokens"},
        "images": {"images": "images", "num_model_requests": "requests"},
    }
    for endpoint, names in fields.items():
        told: dict[tuple[str | None, str, int], Counter[str]] = {}
        for minute, row in world.rows(endpoint, group_by=["api_key_id", "model"]):
            told[(row["api_key_id"], row["model"], minute)] = Counter({name: row[name] for name in names})
        booked = {
            (key, model, minute): Counter({name: getattr(counts, leaf) for name, leaf in names.items()})
            for (where, key, model, minute), counts in world.sim.books.by_minute().items()
            if where == endpoint
        }
        assert told == booked
        assert told


def test_a_call_shows_only_after_the_lag(world: World) -> None:
    world.work(1)
    done = world.clock
    late = [line for line in world.sim.books.lines if line.usage_endpoint == "completions"]
    world.clock = done + 599
    assert world.rows("completions") == []
    world.clock = done + 600
    assert sum(row["num_model_requests"] for _, row in world.rows("completions")) == len(late) == 3


def test_a_fifth_of_the_calls_is_billed_a_minute_late_by_default() -> None:
    with World(seed=1).sim as sim:
        client = Client(url=sim.url, secret="sk-a")
        for number in range(100):
            client.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": str(number), "dimensions": 1})
        minutes = Counter(line.minute - NOON for line in sim.books.lines)
    assert set(minutes) == {0, 60}
    assert 10 <= minutes[60] <= 30


def test_a_call_may_be_billed_over_two_minutes_and_corrected_later() -> None:
    for share in ("split_share", "rise_share", "fall_share"):
        world = World(seed=2, lag=60.0, late_share=0.0, **{share: 1.0})
        with world.sim:
            world.work(1)
            world.clock = NOON + 86_400
            told = Counts()
            for minute, row in world.rows("completions"):
                told += Counts(input_text=row["input_tokens"], output_text=row["output_tokens"])
                assert minute in ((NOON, NOON + 60) if share == "split_share" else (NOON,))
            worth = [e.counts for e in world.sim.books.entries if e.usage_endpoint == "completions"]
            assert told.input_tokens == sum(counts.input_tokens for counts in worth)
            assert told.output_tokens == sum(counts.output_tokens for counts in worth)
            world.clock = NOON + 600.0
            early = sum(row["input_tokens"] for _, row in world.rows("completions"))
            assert early == told.input_tokens if share == "split_share" else early != told.input_tokens
            assert (early > told.input_tokens) == (share == "fall_share")


def test_a_correction_shows_from_its_own_instant_on() -> None:
    world = World(lag=0.0, late_share=0.0)
    with world.sim:
        world.call("sk-a", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"})
        before = world.rows("embeddings")[0][1]["input_tokens"]
        world.sim.books.correct(0, Counts(input_text=-2), visible_from=NOON + 900.0)
        assert world.rows("embeddings")[0][1]["input_tokens"] == before
        world.clock = NOON + 900.0
        assert world.rows("embeddings")[0][1]["input_tokens"] == before - 2


def test_a_window_of_half_a_century_is_answered_page_by_page(world: World) -> None:
    body = world.ask("usage/completions", start_time=0, end_time=NOON, bucket_width="1m", limit=2).json()
    assert [bucket["end_time"] for bucket in body["data"]] == [60, 120]
    assert body["has_more"]


def test_both_spellings_of_an_array_filter_alike(world: World) -> None:
    world.work(2)
    world.clock += 86_400
    client = Client(url=world.sim.url, secret=ADMIN)
    window = f"start_time={NOON}&end_time={NOON + 300}&bucket_width=1m"
    brackets = "group_by%5B%5D=model&group_by%5B%5D=api_key_id&api_key_ids%5B%5D=key_a"
    repeated = "group_by=model&group_by=api_key_id&api_key_ids=key_a"
    bodies = [client.get(f"/v1/organization/usage/completions?{window}&{form}").json() for form in (brackets, repeated)]
    assert bodies[0] == bodies[1]
    rows = [row for bucket in bodies[0]["data"] for row in bucket["results"]]
    assert {row["api_key_id"] for row in rows} == {"key_a"}
    assert {row["model"] for row in rows} == {"gpt-4o-mini-2024-07-18", "gpt-5.6-sol"}


def test_dimensions_that_were_not_asked_for_are_null(world: World) -> None:
    world.work(1)
    world.clock += 86_400
    rows = [row for _, row in world.rows("completions")]
    assert sum(row["num_model_requests"] for row in rows) == 3
    for row in rows:
        names = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
        assert [row[name] for name in names] == [None] * 6
    assert {row["batch"] for _, row in world.rows("completions", group_by=["batch", "service_tier"])} == {False}
    assert world.rows("completions", batch="true") == []


def test_the_parts_of_the_input_add_up(world: World) -> None:
    world.work()
    world.clock += 86_400
    for _, row in world.rows("completions", group_by=["model"]):
        assert row["input_tokens"] == (
            row["input_cached_tokens"] + row["input_cache_write_tokens"] + row["input_uncached_tokens"]
        )
        kinds = ("text", "audio", "image")
        assert row["input_uncached_tokens"] == sum(row[f"input_{kind}_tokens"] for kind in kinds)
        assert row["input_cached_tokens"] == sum(row[f"input_cached_{kind}_tokens"] for kind in kinds)
        assert row["output_tokens"] == sum(row[f"output_{kind}_tokens"] for kind in kinds)


def test_a_start_off_the_minute_gives_a_short_first_bucket(world: World) -> None:
    body = world.ask("usage/completions", start_time=NOON + 26, end_time=NOON + 150, bucket_width="1m").json()
    edges = [(bucket["start_time"] - NOON, bucket["end_time"] - NOON) for bucket in body["data"]]
    assert edges == [(26, 60), (60, 120), (120, 150)]


def test_empty_buckets_come_or_not_by_a_switch(world: World) -> None:
    world.work(2)
    world.clock += 86_400
    window: dict[str, Any] = {"start_time": NOON, "end_time": NOON + 600, "bucket_width": "1m"}
    assert len(world.ask("usage/completions", **window).json()["data"]) == 10
    world.sim.empty_buckets = False
    assert 0 < len(world.ask("usage/completions", **window).json()["data"]) < 10


def test_pages_follow_the_limit_and_the_cursor_fits_one_question_only(world: World) -> None:
    world.work(3)
    world.clock += 86_400
    window: dict[str, Any] = {"start_time": NOON, "end_time": NOON + 300, "bucket_width": "1m", "limit": 2}
    first = world.ask("usage/completions", **window).json()
    assert (first["has_more"], len(first["data"])) == (True, 2)
    assert first["next_page"].startswith("page_")
    second = world.ask("usage/completions", **window, page=first["next_page"]).json()
    assert second["data"][0]["start_time"] == NOON + 120
    last = world.ask("usage/completions", **window, page=second["next_page"]).json()
    assert (last["has_more"], last["next_page"]) == (False, None)
    changes: list[dict[str, Any]] = [{"end_time": NOON + 360}, {"limit": 3}, {"group_by": "model"}]
    for change in changes:
        refused = world.ask("usage/completions", **{**window, **change}, page=first["next_page"])
        assert refused.status == 400
        assert refused.json()["error"]["param"] == "page"
    assert world.ask("usage/completions", **window, page="page_nonsense").status == 400


@pytest.mark.parametrize(("width", "default", "most"), [("1m", 60, 1440), ("1h", 24, 168), ("1d", 7, 31)])
def test_each_width_has_its_default_and_its_limit(world: World, width: str, default: int, most: int) -> None:
    window: dict[str, Any] = {"start_time": NOON - 400 * 86_400, "end_time": NOON, "bucket_width": width}
    assert len(world.ask("usage/completions", **window).json()["data"]) == default
    assert len(world.ask("usage/completions", **window, limit=most).json()["data"]) == most
    over = world.ask("usage/completions", **window, limit=most + 1)
    assert over.status == 400
    assert str(most) in over.json()["error"]["message"]


def test_days_are_the_default_and_the_window_ends_now(world: World) -> None:
    world.clock = NOON + 30.0
    body = world.ask("usage/completions", start_time=NOON).json()
    assert [(b["start_time"], b["end_time"]) for b in body["data"]] == [(NOON, NOON + 31)]


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({}, None, "invalid_request_error"),
        ({"bucket_start_time": NOON}, None, "invalid_request_error"),
        ({"start_time": NOON + 0.5}, "start_time", "invalid_type"),
        ({"start_time": "yesterday"}, "start_time", "invalid_type"),
        ({"start_time": NOON, "end_time": NOON}, "end_time", "invalid_request_error"),
        ({"start_time": NOON, "end_time": float(NOON + 60)}, "end_time", "invalid_type"),
        ({"start_time": NOON, "bucket_width": "5m"}, "bucket_width", "invalid_value"),
        ({"start_time": NOON, "group_by": "reasoning"}, "group_by", "invalid_value"),
        ({"start_time": NOON, "batch": "maybe"}, "batch", "invalid_value"),
        ({"start_time": NOON, "limit": 0}, "limit", "integer_below_min_value"),
    ],
)
def test_a_bad_question_is_refused_with_400(world: World, query: dict[str, Any], param: str, code: str) -> None:
    reply = world.ask("usage/completions", **query)
    assert reply.status == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


def test_only_the_admin_key_with_the_scope_may_ask(world: World) -> None:
    window: dict[str, Any] = {"start_time": NOON}
    assert world.ask("usage/completions", secret="sk-wrong", **window).status == 401
    assert world.ask("usage/completions", secret="sk-a", **window).status == 403
    world.sim.admin_scopes = frozenset()
    refused = world.ask("usage/completions", **window)
    assert refused.status == 403
    assert "Missing scopes: api.usage.read" in refused.json()["error"]["message"]
    world.sim.scope_status = 401
    assert world.ask("usage/completions", **window).status == 401
    nobody = Client(url=world.sim.url, secret="x").send(
        "GET", f"/v1/organization/usage/completions?start_time={NOON}", b"", {"Authorization": ""}
    )
    assert nobody.status == 401
    assert nobody.json()["error"]["message"].startswith("You didn't provide an API key")


def test_an_untracked_key_is_billed_without_its_id() -> None:
    world = World(lag=0.0, late_share=0.0)
    world.sim.keys = [Key(secret="sk-old", api_key_id="key_old", tracked=False)]
    with world.sim:
        world.call("sk-old", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"})
        assert [row["api_key_id"] for _, row in world.rows("embeddings", group_by=["api_key_id"])] == [None]
        assert world.rows("embeddings", api_key_ids=["key_old"]) == []


def test_projects_and_their_keys_are_listed_with_secrets_starred(world: World) -> None:
    client = Client(url=world.sim.url, secret=ADMIN)
    projects = client.get("/v1/organization/projects").json()["data"]
    assert [project["id"] for project in projects] == ["proj_a", "proj_b"]
    world.call("sk-a", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"})
    (key,) = client.get("/v1/organization/projects/proj_a/api_keys").json()["data"]
    assert (key["id"], key["last_used_at"]) == ("key_a", NOON)
    assert "*" in key["redacted_value"]
    assert client.get("/v1/organization/projects/proj_none/api_keys").status == 404


def test_a_list_of_keys_comes_in_pages_behind_the_last_one_seen(world: World) -> None:
    world.sim.keys = [Key(secret=f"sk-{n:09}", api_key_id=f"key_{n}", project_id="proj_a") for n in range(50)]
    client = Client(url=world.sim.url, secret=ADMIN)
    path = "/v1/organization/projects/proj_a/api_keys"
    first = client.get(path).json()
    assert (len(first["data"]), first["has_more"], first["last_id"]) == (20, True, "key_19")
    rest = client.get(f"{path}?limit=100&after=key_19").json()
    assert (len(rest["data"]), rest["has_more"], rest["first_id"]) == (30, False, "key_20")
    assert [client.get(f"{path}?{query}").status for query in ("limit=0", "limit=101", "after=key_none")] == [400] * 3


def test_costs_come_by_the_day_in_dollars(world: World) -> None:
    world.work(2)
    world.clock += 86_400
    body = world.ask("costs", start_time=NOON // 86_400 * 86_400, group_by=["line_item"]).json()
    rows = [row for bucket in body["data"] for row in bucket["results"]]
    assert all(row["amount"]["currency"] == "usd" for row in rows)
    assert any(row["line_item"] == "gpt-4o-mini-2024-07-18, output" for row in rows)
    assert world.ask("costs", start_time=NOON, bucket_width="1h").status == 400
    assert "180" in world.ask("costs", start_time=NOON, limit=366).json()["error"]["message"]


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("completions", "UsageCompletionsResult"),
        ("embeddings", "UsageEmbeddingsResult"),
        ("moderations", "UsageModerationsResult"),
        ("images", "UsageImagesResult"),
        ("audio_speeches", "UsageAudioSpeechesResult"),
        ("audio_transcriptions", "UsageAudioTranscriptionsResult"),
        ("web_search_calls", "UsageWebSearchCallsResult"),
        ("vector_stores", "UsageVectorStoresResult"),
        ("code_interpreter_sessions", "UsageCodeInterpreterSessionsResult"),
        ("file_search_calls", "UsageFileSearchCallsResult"),
    ],
)
def test_pages_fit_the_published_schemas(world: World, endpoint: str, name: str) -> None:
    if not SCHEMAS.exists():
        pytest.skip("the published schemas are not beside this repository")
    spec = json.loads(SCHEMAS.read_text())["openapi_spec"]
    world.work(1)
    world.call("sk-a", "/v1/audio/speech", {"model": "tts-1", "input": "x", "voice": "nova"})
    world.call("sk-a", "/v1/responses", {"model": "gpt-5", "input": "x", "tools": [{"type": "web_search"}]})
    form = Client(url=world.sim.url, secret="sk-a").form
    assert form("/v1/audio/transcriptions", {"model": "whisper-1"}, {"file": b"x"}).status == 200
    world.clock += 86_400
    group_by = [] if endpoint in ("vector_stores", "code_interpreter_sessions") else ["api_key_id"]
    window: dict[str, Any] = {"start_time": NOON, "end_time": NOON + 300, "bucket_width": "1m", "group_by": group_by}
    body = world.ask(f"usage/{endpoint}", **window).json()
    jsonschema.validate(body, spec["usage_api_page"])
    rows = [row for bucket in body["data"] for row in bucket["results"]]
    for row in rows:
        jsonschema.validate(row, {**spec["usage_api_results"][name], "additionalProperties": False})
    assert bool(rows) == (endpoint not in ("vector_stores", "code_interpreter_sessions", "file_search_calls"))


def test_costs_and_decisions_fit_the_published_schemas(world: World) -> None:
    if not SCHEMAS.exists():
        pytest.skip("the published schemas are not beside this repository")
    published = json.loads(SCHEMAS.read_text())
    world.work(1)
    world.clock += 86_400
    costs = world.ask("costs", start_time=NOON // 86_400 * 86_400).json()
    jsonschema.validate(costs, published["openapi_spec"]["usage_api_page"])
    decisions = world.ask("usage/decisions", start_time=NOON).json()
    jsonschema.validate(decisions, published["python_sdk_types"]["usage_api_page (decisions instance)"])


USAGE_FAULTS = [
    (FaultKind.CURSOR_REPEATED, lambda body: body["has_more"] and body["next_page"]),
    (FaultKind.CURSOR_MISSING, lambda body: body["has_more"] and body["next_page"] is None),
    (FaultKind.WINDOW_CHANGED, lambda body: body["data"][0]["start_time"] == NOON + 60),
    (FaultKind.BUCKET_DOUBLED, lambda body: body["data"][0] == body["data"][1]),
    (FaultKind.BUCKETS_DESCENDING, lambda body: body["data"][0]["start_time"] > body["data"][1]["start_time"]),
    (
        FaultKind.FILTER_IGNORED,
        lambda body: {r["api_key_id"] for b in body["data"] for r in b["results"]} == {"key_a", "key_b"},
    ),
]


@pytest.mark.parametrize(("kind", "holds"), USAGE_FAULTS, ids=[kind.value for kind, _ in USAGE_FAULTS])
def test_a_fault_of_the_usage_api_shows_once(world: World, kind: FaultKind, holds: Any) -> None:
    world.work(2)
    world.clock += 86_400
    world.sim.plan.add(Fault(kind=kind, path="/v1/organization/usage/*", times=1))
    window: dict[str, Any] = {
        "start_time": NOON,
        "end_time": NOON + 300,
        "bucket_width": "1m",
        "group_by": ["api_key_id"],
    }
    assert holds(world.ask("usage/completions", **window, api_key_ids=["key_a"]).json())
    assert not holds(world.ask("usage/completions", **window, api_key_ids=["key_a"]).json())


def test_a_repeated_cursor_names_the_page_that_carries_it(world: World) -> None:
    window: dict[str, Any] = {"start_time": NOON, "end_time": NOON + 300, "bucket_width": "1m", "limit": 1}
    cursor = world.ask("usage/completions", **window).json()["next_page"]
    world.sim.plan.add(Fault(kind=FaultKind.CURSOR_REPEATED))
    assert world.ask("usage/completions", **window, page=cursor).json()["next_page"] == cursor
