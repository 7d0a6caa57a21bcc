"""The proxy's own paths: what they do, and whom they refuse."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from submeter.data.clock import FixedClock
from submeter.data.marks import Mark
from submeter.proxy.control import Control

T0 = 1_790_000_000_000_000


def control(
    applied: list[Mark] | None = None, *, token: str | None = None, hosts: frozenset[str] = frozenset()
) -> Control:
    def apply(mark: Mark) -> Mark:
        if applied is not None:
            applied.append(mark)
        return mark

    return Control(
        clock=FixedClock(T0),
        apply=apply,
        follow=lambda mark: mark,
        health=lambda: {"calls_open": 3},
        token=token,
        hosts=hosts,
    )


def post(what: str, body: Any, applied: list[Mark] | None = None) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = control(applied).answer("POST", f"/_submeter/{what}", raw)
    return answer.status_code, orjson.loads(answer.body)


def test_a_step_mark_is_applied_at_the_clock_s_time() -> None:
    applied: list[Mark] = []
    status, said = post("step", {"run": "ChatDev/r-1", "step": "4.7", "edge": "begin"}, applied)
    assert status == 200
    [mark] = applied
    assert (mark.kind, mark.framework, mark.run_id, mark.step, mark.marked_at) == ("step", "chatdev", "r-1", "4.7", T0)
    assert said["run_id"] == "r-1"


def test_a_run_mark_carries_its_status() -> None:
    applied: list[Mark] = []
    assert post("run", {"run": "r-1", "framework": "baes", "edge": "end", "status": "success"}, applied)[0] == 200
    assert (applied[0].framework, applied[0].step, applied[0].status) == ("baes", None, "success")


def test_a_framework_given_twice_is_not_doubled() -> None:
    applied: list[Mark] = []
    post("run", {"run": "baes/r-1", "framework": "baes"}, applied)
    post("run", {"run": "other/r-1", "framework": "baes"}, applied)
    assert [(mark.framework, mark.run_id) for mark in applied] == [("baes", "r-1"), ("baes", "other/r-1")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        {"run": "r"},
        {"run": 1, "step": "1"},
        {"run": "r", "step": "1", "edge": "middle"},
        {"run": "", "step": "1"},
    ],
)
def test_a_mark_that_cannot_be_read_is_refused_and_says_how_it_should_be(body: Any) -> None:
    applied: list[Mark] = []
    status, said = post("step", body, applied)
    assert (status, applied) == (400, [])
    assert len(said["error"]["message"].splitlines()) == 3


def test_health_says_how_the_proxy_fares() -> None:
    answer = control().answer("GET", "/_submeter/health", b"")
    assert (answer.status_code, orjson.loads(answer.body)) == (200, {"calls_open": 3})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/_submeter/step", 405), ("POST", "/_submeter/health", 405), ("GET", "/_submeter/nothing", 404)],
)
def test_other_methods_and_paths_are_refused(method: str, path: str, status: int) -> None:
    assert control().answer(method, path, b"").status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost:8787", "localhost", "[::1]:8787", "LOCALHOST:1"])
def test_loopback_names_are_this_proxy_s_own(host: str) -> None:
    assert control().refused({"host": host}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8787"},
        {"host": "127.0.0.1.evil.example"},
        {},
        {"host": "127.0.0.1:8787", "origin": "https://evil.example"},
        {"host": "127.0.0.1:8787", "origin": "null"},
        {"host": "127.0.0.1:8787", "sec-fetch-site": "cross-site"},
    ],
)
def test_a_request_that_a_web_page_could_have_sent_is_refused(headers: dict[str, str]) -> None:
    refused = control().refused(headers)
    assert refused is not None
    assert refused.status_code == 403


def test_a_listener_beyond_loopback_asks_for_its_token() -> None:
    open_to_all = control(token="secret", hosts=frozenset({"meter.lan"}))
    refused = open_to_all.refused({"host": "meter.lan:8787"})
    assert refused is not None
    assert refused.status_code == 401
    assert open_to_all.refused({"host": "meter.lan:8787", "x-submeter-token": "secret"}) is None


def test_a_mark_that_another_proxy_journals_is_followed_and_not_written_again() -> None:
    applied: list[Mark] = []
    status_code, told = post("step", {"run": "r-1", "step": "1", "journal": False}, applied)
    assert (status_code, told["step"], applied) == (200, "1", [])
    post("step", {"run": "r-1", "step": "1", "journal": True}, applied)
    assert len(applied) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"framework": "x" * 129},
        {"framework": "a/b"},
        {"framework": "chat\ndev"},
        {"status": "x" * 60_000},
        {"status": "two\nlines"},
        {"run": "chatdev/"},
        {"run": "/r-1"},
    ],
)
def test_a_framework_status_or_run_that_is_no_label_is_refused(said: dict[str, str]) -> None:
    applied: list[Mark] = []
    assert post("step", {"run": "r-1", "step": "1", **said}, applied)[0] == 400
    assert applied == []
