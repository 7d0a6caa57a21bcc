"""The Usage API client against real sockets: what it sends, what it makes of every way a read can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from audit_world import BEGIN_S, World, world
from replying_server import SECRET, Reply, Server, replying

from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi, UsageRead
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.usage_pages import Problem, UsageEndpoint
from submeter.sim.counts import Counts
from submeter.sim.faults import Fault, FaultKind

START_S, END_S = BEGIN_S - 600, BEGIN_S
COMPLETIONS = UsageEndpoint.COMPLETIONS


@contextmanager
def served(
    *replies: Reply, timeout_s: float = 5.0, page_s_max: float = 60.0
) -> Iterator[tuple[Server, FixedClock, Callable[..., UsageRead]]]:
    with replying(*replies, timeout_s=timeout_s, page_s_max=page_s_max) as (server, clock, client):
        yield server, clock, lambda **more: read(client, **more)


def read(client: UsageApi, endpoint: UsageEndpoint = COMPLETIONS, **more: int) -> UsageRead:
    window = {"window_start": START_S * US_PER_S, "window_end": END_S * US_PER_S, **more}
    return client.read(endpoint, api_key_id="key_baes", **window)


def page(*buckets: dict[str, Any], more: str | None = None) -> Reply:
    body = {"object": "page", "data": list(buckets), "has_more": more is not None, "next_page": more}
    return Reply(body=json.dumps(body).encode())


def whole(*buckets: dict[str, Any]) -> Reply:
    """All ten minutes, those not named empty."""
    named = {each["start_time"]: each for each in buckets}
    return page(*(named.get(START_S + 60 * minute, bucket(minute)) for minute in range(10)))


def bucket(minute: int, *results: dict[str, Any]) -> dict[str, Any]:
    start = START_S + 60 * minute
    return {"object": "bucket", "start_time": start, "end_time": start + 60, "results": list(results)}


REST = page(*(bucket(minute) for minute in range(2, 10)))


def row(**fields: Any) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result",
        "api_key_id": "key_baes",
        "model": "m",
        "batch": False,
        "service_tier": "default",
        "input_tokens": 1,
        "output_tokens": 2,
        "input_cached_tokens": 0,
        "num_model_requests": 1,
        **fields,
    }


def refused(status: int, message: str = "No.", **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return Reply(status=status, body=json.dumps(body).encode(), headers={"x-request-id": "req_1", **headers})


def test_every_parameter_is_sent_as_the_sdks_send_it_and_stays_fixed_while_paging() -> None:
    with served(page(bucket(0), more="page_a"), page(bucket(1), more="page_b"), REST) as (server, _, ask):
        assert ask().good
    first, second, third = server.queries()
    assert first == [
        ("start_time", str(START_S)),
        ("end_time", str(END_S)),
        ("bucket_width", "1m"),
        ("limit", "1440"),
        ("api_key_ids[]", "key_baes"),
        ("group_by[]", "model"),
        ("group_by[]", "api_key_id"),
        ("group_by[]", "batch"),
        ("group_by[]", "service_tier"),
    ]
    assert second == [*first, ("page", "page_a")]
    assert third == [*first, ("page", "page_b")]
    target, headers = server.asked[0]
    assert urlsplit(target).path == "/v1/organization/usage/completions"
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("endpoint", [UsageEndpoint.EMBEDDINGS, UsageEndpoint.IMAGES])
def test_paths_that_do_not_know_batch_are_not_asked_for_it(endpoint: UsageEndpoint) -> None:
    with served(page()) as (server, _, ask):
        assert ask(endpoint=endpoint).good
    assert [value for name, value in server.queries()[0] if name == "group_by[]"] == ["model", "api_key_id"]


def test_a_good_read_has_its_rows_pages_and_holes() -> None:
    first = page(bucket(0, row(), row(model="n")), more="p")
    with served(first, page(bucket(4, row())), page(bucket(4, row())), page()) as (_, clock, ask):
        got = ask()
    assert (got.good, got.problem, got.status_code, got.message) == (True, None, 200, None)
    assert [(each.minute - START_S // 60, each.model) for each in got.rows] == [(0, "m"), (0, "n"), (4, "m")]
    assert (len(got.pages), got.holes, got.asked_at) == (4, 8, clock.now_us())


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        ([page(bucket(0), more="a"), page(bucket(1), more="a")], Problem.CURSOR_REPEATED),
        ([Reply(body=b'{"data":[],"has_more":true,"next_page":null}')], Problem.CURSOR_MISSING),
        ([Reply(body=b'{"data":[],"has_more":true}')], Problem.CURSOR_MISSING),
        ([Reply(body=b'{"data":[]}')], Problem.NOT_A_PAGE),
        ([Reply(body=b'{"has_more":false}')], Problem.NOT_A_PAGE),
        ([Reply(body=b"[]")], Problem.NOT_A_PAGE),
        ([Reply(body=b"<html>busy</html>")], Problem.NOT_JSON),
        ([Reply(body=b"")], Problem.NOT_JSON),
        ([page({"start_time": START_S})], Problem.NOT_A_PAGE),
        ([page(bucket(0), bucket(0))], Problem.BUCKET_REPEATED),
        ([page(bucket(0), more="a"), page(bucket(0))], Problem.BUCKET_REPEATED),
        ([page(bucket(1), bucket(0))], Problem.BUCKET_DISORDERED),
        ([page(bucket(10))], Problem.BUCKET_OUTSIDE),
        ([page(bucket(-1))], Problem.BUCKET_OUTSIDE),
        ([page({**bucket(0), "end_time": START_S + 3600})], Problem.BUCKET_UNALIGNED),
        ([page({**bucket(0), "start_time": START_S + 26})], Problem.BUCKET_UNALIGNED),
        ([page({**bucket(0), "start_time": float(START_S)})], Problem.BUCKET_UNALIGNED),
        ([page(bucket(0, row(api_key_id="key_other")))], Problem.OTHER_KEY),
        ([page(bucket(0, row(api_key_id=None)))], Problem.OTHER_KEY),
        ([page(bucket(0, row(model=None)))], Problem.NOT_GROUPED),
        ([page(bucket(0, row(input_tokens=1.0)))], Problem.COUNT_NOT_WHOLE),
        ([page(bucket(0, row(input_tokens="1")))], Problem.COUNT_NOT_WHOLE),
        ([page(bucket(0, row(input_tokens=True)))], Problem.COUNT_NOT_WHOLE),
        ([page(bucket(0, row(output_tokens=-1)))], Problem.COUNT_NOT_WHOLE),
        ([page(bucket(0, row(output_tokens=2**53)))], Problem.COUNT_NOT_WHOLE),
        ([page(bucket(0, row(output_tokens=None)))], Problem.COUNT_MISSING),
        ([page(bucket(0, row(batch="no")))], Problem.NOT_A_PAGE),
        ([page(bucket(0, row(), row(input_tokens=9)))], Problem.CONTRADICTED),
        ([page(bucket(0, row(input_cached_tokens=2)))], Problem.CONTRADICTED),
        ([Reply(body=b'{"data":[],"has_more":false,"next_page":"page_a"}')], Problem.CONTRADICTED),
        ([page(bucket(0, row(object="organization.costs.result")))], Problem.NOT_A_PAGE),
        ([refused(401)], Problem.NOT_PERMITTED),
        ([refused(403)], Problem.NOT_PERMITTED),
        ([refused(400)], Problem.UNAVAILABLE),
        ([refused(404)], Problem.UNAVAILABLE),
        ([refused(500)], Problem.UNAVAILABLE),
        ([Reply(status=204, body=b"")], Problem.UNAVAILABLE),
        ([Reply(close=True)], Problem.UNAVAILABLE),
        ([page(bucket(0), more="a"), refused(403)], Problem.NOT_PERMITTED),
        ([page(bucket(0), more="a"), refused(500)], Problem.UNAVAILABLE),
    ],
)
def test_what_is_not_a_good_read_is_no_number(replies: list[Reply], problem: Problem) -> None:
    with served(*replies) as (_, _, ask):
        got = ask()
    assert (got.good, got.problem, got.rows) == (False, problem, ())
    assert got.message


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_page_of_html_that_comes_with_a_failure_is_tried_again_and_then_no_number(status: int) -> None:
    html = Reply(status=status, body=b"<html><h1>Bad gateway</h1></html>", headers={"Content-Type": "text/html"})
    with served(html) as (server, _, ask):
        got = ask()
    assert (got.problem, got.rows, len(server.asked)) == (Problem.UNAVAILABLE, (), 5)
    assert got.message == f"HTTP {status} without a message."


def test_a_page_that_breaks_off_in_the_middle_is_tried_again_and_never_half_a_number() -> None:
    half = Reply(body=page(bucket(0, row())).body, half=True)
    with served(half, whole(bucket(0, row()))) as (server, _, ask):
        assert ask().good
        assert len(server.asked) == 2
    with served(half) as (_, _, ask):
        got = ask()
    assert (got.problem, got.rows) == (Problem.UNAVAILABLE, ())


def test_a_page_that_comes_drop_by_drop_is_not_waited_for_without_end() -> None:
    with served(Reply(drops_s=0.01), page_s_max=0.05) as (_, _, ask):
        got = ask()
    assert got.problem is Problem.UNAVAILABLE
    assert "took more than 0.05 s" in str(got.message)


def test_unknown_fields_and_a_silent_cached_count_are_borne() -> None:
    odd = row(api_source="x", input_text_tokens=1)
    del odd["input_cached_tokens"]
    with served(whole({**bucket(0, odd), "start_time_iso": "x"})) as (_, _, ask):
        got = ask()
    assert (got.good, got.rows[0].input_cached_tokens) == (True, None)


def test_the_providers_words_and_request_id_are_kept_and_the_key_is_not() -> None:
    with served(refused(403, f"Key {SECRET} lacks the scope api.usage.read.")) as (_, _, ask):
        got = ask()
    assert (got.status_code, got.request_id) == (403, "req_1")
    assert got.message == "Key [admin key] lacks the scope api.usage.read."


def test_another_key_that_the_answer_quotes_is_cut_to_its_beginning() -> None:
    with served(refused(401, "Incorrect API key provided: sk-proj-0123456789abcdef.")) as (_, _, ask):
        assert ask().message == "Incorrect API key provided: sk-***."
    with served(refused(401, "Incorrect API key provided: sk-admin****wxyz.")) as (_, _, ask):
        assert ask().message == "Incorrect API key provided: sk-admin****wxyz."


def test_the_key_is_in_no_text_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with served(refused(500, SECRET), Reply(close=True)) as (server, clock, ask):
        settings = AuditSettings(usage_api_url=server.url, admin_key=SECRET)
        got = ask()
        client = UsageApi(settings, clock=clock)
        client.close()
        assert SECRET not in repr(client) + repr(settings) + repr(got) + caplog.text


def test_a_429_is_waited_out_as_long_as_it_asks() -> None:
    with served(refused(429, **{"Retry-After": "17"}), page()) as (server, clock, ask):
        got = ask()
    assert (got.good, len(server.asked)) == (True, 2)
    assert clock.now_us() == (BEGIN_S + 17) * US_PER_S
    assert got.asked_at == BEGIN_S * US_PER_S


def test_a_retry_after_may_be_a_date() -> None:
    with served(refused(429, **{"Retry-After": "Tue, 28 Oct 2025 10:00:40 GMT"}), page()) as (_, clock, ask):
        assert ask().good
    assert clock.now_us() == (BEGIN_S + 40) * US_PER_S


def test_a_429_without_retry_after_backs_off_and_gives_up() -> None:
    with served(refused(429, "Slow down.")) as (server, clock, ask):
        got = ask()
    assert (got.problem, got.message, got.status_code) == (Problem.UNAVAILABLE, "Slow down.", 429)
    assert len(server.asked) == 5
    assert clock.now_us() == (BEGIN_S + 1 + 2 + 4 + 8) * US_PER_S


def test_a_retry_after_of_an_hour_is_not_waited_for() -> None:
    with served(refused(429, "Quota.", **{"Retry-After": "3600"})) as (server, _, ask):
        got = ask()
    assert len(server.asked) == 1
    assert got.message == "Quota. It asks to wait 3600 s, longer than is waited for."


@pytest.mark.parametrize("first", [refused(500), refused(503), refused(408), Reply(close=True)])
def test_a_passing_failure_is_tried_again(first: Reply) -> None:
    with served(first, whole(bucket(0, row()))) as (server, _, ask):
        assert ask().good
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    with served(refused(status)) as (server, _, ask):
        assert not ask().good
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with (
        served(page()) as (elsewhere, _, _),
        served(Reply(status=302, body=b"", headers={"Location": elsewhere.url})) as (_, _, ask),
    ):
        got = ask()
        assert (got.problem, got.status_code) == (Problem.UNAVAILABLE, 302)
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with served(page()) as (_, _, ask):
        assert ask().good


def test_a_silent_server_times_out_and_is_unavailable() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler, bind_and_activate=True)
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        clock = FixedClock(BEGIN_S * US_PER_S)
        with UsageApi(AuditSettings(usage_api_url=url, admin_key=SECRET), clock=clock, timeout_s=0.05) as client:
            got = read(client)
    finally:
        server.server_close()
    assert got.problem is Problem.UNAVAILABLE
    assert got.message
    assert "Timeout" in got.message


def test_without_an_admin_key_nothing_is_asked() -> None:
    with served(page()) as (server, clock, _), UsageApi(AuditSettings(usage_api_url=server.url), clock=clock) as client:
        got = read(client)
        assert (got.problem, server.asked) == (Problem.NOT_PERMITTED, [])


def test_a_window_that_is_none_or_has_not_ended_is_our_own_mistake() -> None:
    with served(page()) as (server, _, ask):
        for more in ({"window_start": START_S * US_PER_S + 1}, {"window_end": START_S * US_PER_S}):
            with pytest.raises(ValueError, match="whole minutes"):
                ask(**more)
        with pytest.raises(ValueError, match="before its window had ended"):
            ask(window_end=(END_S + 60) * US_PER_S)
        assert server.asked == []


def test_the_rest_is_asked_again_from_the_first_minute_that_is_not_listed() -> None:
    first = page(bucket(0, row()), bucket(1), more="page_a")
    second = page(bucket(2), bucket(5, row()))
    rest = page(*(bucket(minute, *([row()] if minute == 5 else [])) for minute in range(3, 10)))
    with served(first, second, rest) as (server, _, ask):
        got = ask()
    assert (got.good, got.holes, len(got.pages)) == (True, 0, 3)
    assert [(each.minute - START_S // 60) for each in got.rows] == [0, 5]
    asked = [dict(query) for query in server.queries()]
    assert [(int(each["start_time"]) - START_S) // 60 for each in asked] == [0, 0, 3]
    assert [each.get("page") for each in asked] == [None, "page_a", None]
    assert len({each["end_time"] for each in asked}) == 1


def test_a_failure_in_the_middle_of_asking_again_is_no_number() -> None:
    with served(page(bucket(0, row())), refused(403)) as (_, _, ask):
        got = ask()
    assert (got.good, got.problem, got.rows, got.holes) == (False, Problem.NOT_PERMITTED, (), 0)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (FaultKind.CURSOR_REPEATED, Problem.CURSOR_REPEATED),
        (FaultKind.CURSOR_MISSING, Problem.CURSOR_MISSING),
        (FaultKind.WINDOW_CHANGED, Problem.BUCKET_OUTSIDE),
        (FaultKind.BUCKET_DOUBLED, Problem.BUCKET_REPEATED),
        (FaultKind.BUCKETS_DESCENDING, Problem.BUCKET_DISORDERED),
        (FaultKind.FILTER_IGNORED, Problem.OTHER_KEY),
        (FaultKind.HTML, Problem.NOT_JSON),
        (FaultKind.NOT_JSON, Problem.NOT_JSON),
    ],
)
def test_the_simulators_paging_faults_are_all_seen(kind: FaultKind, problem: Problem, tmp_path: Path) -> None:
    with billed_world(tmp_path) as (here, ask):
        good = ask()
        assert (good.good, good.holes, len(good.pages), len(good.rows)) == (True, 0, 2, 1)
        here.sim.plan.add(Fault(kind=kind))
        assert ask().problem is problem


@contextmanager
def billed_world(folder: Path, **settings: Any) -> Iterator[tuple[World, Callable[[], UsageRead]]]:
    """Two days of a simulated bill, one call on each of two keys, and how to read those of one key."""
    with world(folder, **settings) as here:
        for key in ("baes", "other"):
            here.post(key, Counts(input_text=5, output_text=1), ended=10)
        here.at(3 * 86_400)
        two_days = {"window_start": BEGIN_S * US_PER_S, "window_end": (BEGIN_S + 2 * 86_400) * US_PER_S}
        with UsageApi(here.settings, clock=here.clock) as client:
            yield here, lambda: read(client, COMPLETIONS, **two_days)


def test_an_answer_that_stops_early_is_asked_for_the_rest_and_says_the_same(tmp_path: Path) -> None:
    with billed_world(tmp_path) as (here, ask):
        here.post("baes", Counts(input_text=70, output_text=7), ended=90_000)
        true = ask()
        here.sim.plan.add(Fault(kind=FaultKind.BUCKETS_CUT, after=60))
        cut = ask()
    assert (true.good, cut.good, len(true.rows), len(true.pages)) == (True, True, 2, 2)
    assert (cut.rows, cut.holes, len(cut.pages)) == (true.rows, 0, 2 * 24)


def test_a_bucket_that_is_left_out_once_is_asked_for_again(tmp_path: Path) -> None:
    with billed_world(tmp_path) as (here, ask):
        true = ask()
        here.sim.plan.add(Fault(kind=FaultKind.BUCKET_MISSING, after=7, times=1))
        again = ask()
    assert (again.good, again.rows, again.holes, len(again.pages)) == (True, true.rows, 0, 4)


def test_a_provider_that_lists_no_empty_minute_says_the_same_in_one_question_a_pause(tmp_path: Path) -> None:
    with billed_world(tmp_path, empty_buckets=False) as (here, ask):
        for minute in (5, 6, 7, 1500, 1502):
            here.post("baes", Counts(input_text=minute, output_text=1), ended=60 * minute)
        got = ask()
    assert (got.good, got.holes) == (True, 2880 - 6)
    assert [row.input_tokens for row in got.rows] == [5, 5, 6, 7, 1500, 1502]
