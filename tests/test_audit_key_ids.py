"""Ids of keys from what the organization's API says: lists page by page, ends that fit one alone, a canary's tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from audit_world import BEGIN_S
from replying_server import SECRET, Reply, replying

from submeter.audit.key_ids import (
    CanaryCall,
    ProjectKey,
    Sighting,
    check_readable,
    decide,
    list_project_keys,
    sight_canary,
)
from submeter.data.clock import US_PER_S
from submeter.data.usage_pages import BadRead, Problem

BEGIN_US = BEGIN_S * US_PER_S
CALL = CanaryCall(started_us=BEGIN_US, ended_us=BEGIN_US + US_PER_S, model="m", input_tokens=700, output_tokens=9)
LATER_S = BEGIN_S + 3600
LATER_US = LATER_S * US_PER_S


def listed(*ids: str, more: bool = False) -> Reply:
    data = [{"id": each, "redacted_value": f"sk-{each}****abcd"} for each in ids]
    return Reply(body=json.dumps({"object": "list", "data": data, "has_more": more}).encode())


def billed(
    *rows: tuple[str | None, int, int], minute: int = 0, model: str = "m", requests: int | None = 1
) -> dict[str, Any]:
    results = [
        {"api_key_id": key, "model": model, "input_tokens": i, "output_tokens": o, "num_model_requests": requests}
        for key, i, o in rows
    ]
    start = BEGIN_S + 60 * minute
    return {"object": "bucket", "start_time": start, "end_time": start + 60, "results": results}


def bill(*buckets: dict[str, Any]) -> Reply:
    """All minutes in which the canary may be billed, those not named empty."""
    named = {bucket["start_time"]: bucket for bucket in buckets}
    return page(*(named.get(BEGIN_S + 60 * minute, billed(minute=minute)) for minute in range(-1, 7)))


def page(*buckets: dict[str, Any], **more: Any) -> Reply:
    return Reply(body=json.dumps({"object": "page", "data": buckets, "has_more": False, **more}).encode())


def test_every_key_of_every_project_is_listed_over_all_pages() -> None:
    replies = [listed("p1", more=True), listed("p2"), listed("k1", "k2", more=True), listed("k3"), listed("k4")]
    with replying(*replies) as (server, _, client):
        found = list_project_keys(client)
    assert [each.api_key_id for each in found] == ["k1", "k2", "k3", "k4"]
    assert found[0] == ProjectKey(api_key_id="k1", redacted_value="sk-k1****abcd")
    assert [target.partition("/organization/")[2] for target, _ in server.asked] == [
        "projects?limit=100",
        "projects?limit=100&after=p1",
        "projects/p1/api_keys?limit=100",
        "projects/p1/api_keys?limit=100&after=k2",
        "projects/p2/api_keys?limit=100",
    ]


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        ([listed("p1", more=True)], Problem.CURSOR_REPEATED),
        ([listed(more=True)], Problem.CURSOR_MISSING),
        ([Reply(body=b"<html>busy</html>")], Problem.NOT_JSON),
        ([Reply(body=b"[]")], Problem.NOT_A_PAGE),
        ([Reply(body=b'{"data": []}')], Problem.NOT_A_PAGE),
        ([Reply(body=b'{"data": [{"id": "../admin"}]}')], Problem.NOT_A_PAGE),
        ([Reply(status=403, body=b'{"error": {"message": "Missing scopes: api.management.read."}}')], "not_permitted"),
        ([listed("p1"), Reply(status=500, body=b"")], Problem.UNAVAILABLE),
    ],
)
def test_a_list_that_is_not_whole_is_no_list(replies: list[Reply], problem: Problem) -> None:
    with replying(*replies) as (_, _, client), pytest.raises(BadRead) as bad:
        list_project_keys(client)
    assert bad.value.problem == problem
    assert SECRET not in bad.value.message


def test_an_id_is_a_keys_only_where_one_fits_and_no_other_key_claims_it() -> None:
    ends = {"a": ["k1"], "b": ["k2", "k3"], "c": [], "d": ["k4"], "e": ["k4"], "f": ["k5", "k5"]}
    assert decide(ends) == {"a": "k1", "b": None, "c": None, "d": None, "e": None, "f": "k5"}


@pytest.mark.parametrize(
    ("buckets", "seen"),
    [
        ([billed(("k1", 700, 9), ("k2", 701, 9))], Sighting(api_key_ids=("k1",))),
        ([billed(("k1", 350, 4)), billed(("k1", 350, 5), minute=1)], Sighting(merged=("k1",))),
        ([billed(("k1", 700, 9)), billed(("k1", 50, 1), minute=2)], Sighting(api_key_ids=("k1",))),
        ([billed(("k1", 700, 9), ("k2", 700, 9))], Sighting(api_key_ids=("k1", "k2"))),
        ([billed((None, 700, 9))], Sighting(without_id=True)),
        ([billed(("k1", 750, 10))], Sighting()),
        ([billed()], Sighting()),
    ],
)
def test_a_canary_is_seen_under_every_id_that_used_exactly_its_tokens(
    buckets: list[dict[str, Any]], seen: Sighting
) -> None:
    with replying(bill(*buckets), now_s=LATER_S) as (server, _, client):
        assert sight_canary(client, CALL, now_us=LATER_US) == seen
    (query,) = server.queries()
    assert query[:2] == [("start_time", str(BEGIN_S - 60)), ("end_time", str(BEGIN_S + 7 * 60))]
    assert [value for name, value in query if name == "group_by[]"] == ["api_key_id", "model"]


@pytest.mark.parametrize(
    ("buckets", "seen"),
    [
        # The key itself is busy, and a neighbour happens to use exactly the canary's tokens.
        (
            [billed(("k1", 5700, 90), requests=8), billed(("k2", 700, 9), minute=1)],
            Sighting(api_key_ids=("k2",), merged=("k1",)),
        ),
        (
            [billed((None, 5700, 90), requests=8), billed(("k2", 700, 9), minute=1)],
            Sighting(api_key_ids=("k2",), merged=(None,)),
        ),
        (
            [billed(("k1", 350, 4)), billed(("k1", 350, 5), ("k2", 700, 9), minute=1)],
            Sighting(api_key_ids=("k2",), merged=("k1",)),
        ),
        ([billed(("k1", 700, 9), requests=2)], Sighting(merged=("k1",))),
        ([billed(("k1", 700, 9), requests=None)], Sighting(merged=("k1",))),
        # What cannot hold it: fewer tokens, one request of other tokens, another model.
        (
            [billed(("k1", 700, 8), ("k2", 699, 90), requests=2), billed(("k3", 700, 9), minute=1)],
            Sighting(api_key_ids=("k3",)),
        ),
        ([billed(("k1", 5700, 90)), billed(("k3", 700, 9), minute=1)], Sighting(api_key_ids=("k3",))),
        (
            [billed(("k1", 5700, 90), requests=8, model="o3"), billed(("k3", 700, 9), minute=1)],
            Sighting(api_key_ids=("k3",)),
        ),
        ([billed(("k1", 700, 9), model="o3")], Sighting()),
    ],
)
def test_a_canary_that_may_be_summed_up_with_other_calls_is_said_to_be_and_another_model_is_no_canary(
    buckets: list[dict[str, Any]], seen: Sighting
) -> None:
    with replying(bill(*buckets), now_s=LATER_S) as (_, _, client):
        assert sight_canary(client, CALL, now_us=LATER_US) == seen


def test_ids_of_other_keys_and_ids_that_it_cannot_have_hold_no_canary() -> None:
    with replying(bill(billed(("k1", 5700, 90), requests=8), billed(("k2", 700, 9), minute=1)), now_s=LATER_S) as (
        _,
        _,
        client,
    ):
        assert sight_canary(client, CALL, now_us=LATER_US, others={"k1"}) == Sighting(api_key_ids=("k2",))
        assert sight_canary(client, CALL, now_us=LATER_US, among=["k2", "k3"]) == Sighting(api_key_ids=("k2",))
        assert sight_canary(client, CALL, now_us=LATER_US, others={"k2"}) == Sighting(merged=("k1",))


def test_whether_a_canary_could_be_looked_for_is_known_before_one_is_made() -> None:
    with replying(page(), Reply(status=403, body=b"{}"), now_s=LATER_S) as (_, _, client):
        check_readable(client, now_us=LATER_US)
        with pytest.raises(BadRead):
            check_readable(client, now_us=LATER_US)


def test_no_minute_of_the_future_is_asked_for() -> None:
    with replying(page(), now_s=BEGIN_S + 90) as (server, _, client):
        sight_canary(client, CALL, now_us=BEGIN_US + 90 * US_PER_S)
        assert server.queries()[0][1] == ("end_time", str(BEGIN_S + 60))


@pytest.mark.parametrize("reply", [page(has_more=True), Reply(body=b"{}"), page({"start_time": 1})])
def test_a_bill_that_is_no_page_shows_no_canary(reply: Reply) -> None:
    with replying(reply, now_s=LATER_S) as (_, _, client), pytest.raises(BadRead):
        sight_canary(client, CALL, now_us=LATER_US)


def test_a_bill_that_breaks_off_is_asked_for_again_from_there() -> None:
    first = page(billed(minute=-1), billed(("k1", 700, 9)))
    rest = page(billed(("k2", 700, 9), minute=1), *(billed(minute=minute) for minute in range(2, 7)))
    with replying(first, rest, now_s=LATER_S) as (server, _, client):
        assert sight_canary(client, CALL, now_us=LATER_US) == Sighting(api_key_ids=("k1", "k2"))
    assert server.queries()[1][0] == ("start_time", str(BEGIN_S + 60))
