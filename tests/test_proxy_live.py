"""What the live page is made of: who may look, what it is told, and that no call ever waits for it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from ledger_play import Play

from submeter.data.call import Outcome, Usage
from submeter.data.clock import FixedClock, SystemClock
from submeter.data.keys import KeyRing
from submeter.data.ledger import Ledger
from submeter.data.sidecar import Patience, sidecar
from submeter.proxy.control import TO_THE_PAGE, Control
from submeter.proxy.listen import Listen
from submeter.proxy.live_book import CALLS_MAX, LiveBook, open_calls
from submeter.proxy.live_figures import REST_S_MIN, RESTS_PER_LOOK, SAME_S_MAX, LiveFigures
from submeter.proxy.live_page import live_page
from submeter.proxy.refusal import on_the_wire
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream
from submeter.sim import Key, Sim

SECRET = "sk-sim-of-a-live-page-01"
TOKEN = "a-token-of-sixteen-letters"
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "none"}


class Moments:
    """A clock for the figures that moves when it is told, and by so much at each look at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def figures_of(play: Play, moments: Moments | None = None) -> LiveFigures:
    return LiveFigures(lambda: play.ledger, play.clock, monotonic=moments or Moments())


def told(figures: LiveFigures) -> Any:
    """The figures as the page reads them."""
    return orjson.loads(orjson.dumps(figures.latest()))


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with Sim(keys=(Key(secret=SECRET, api_key_id="key_a"),)) as running:
        yield running


def proxy_before(sim: Sim, folder: Path, listen: Listen) -> ProxyServer:
    return ProxyServer(
        ledger=folder / "l.duckdb",
        listen=listen,
        upstream=parse_upstream(sim.url),
        clock=SystemClock(),
        keys=KeyRing(),
    )


@contextmanager
def running(server: ProxyServer, folder: Path) -> Iterator[ProxyServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "share"))
        server.start()
        try:
            yield server
        finally:
            server.stop(1.0)


@pytest.fixture(scope="module")
def proxy(sim: Sim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyServer]:
    folder = tmp_path_factory.mktemp("live")
    with running(proxy_before(sim, folder, Listen(port=0)), folder) as server:
        yield server


def asked(
    url: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_off_loopback_the_page_asks_for_the_token_which_may_stand_in_the_path(sim: Sim, tmp_path: Path) -> None:
    remote = Listen(host="0.0.0.0", port=0, remote=True, token=TOKEN)
    with running(proxy_before(sim, tmp_path, remote), tmp_path) as server:
        for path in ("/", "/_submeter/", "/_submeter/live"):
            assert asked(server.url, path, BROWSER)[0] == 401
        assert asked(server.url, f"/token/{TOKEN}/", BROWSER)[1]["location"] == "_submeter/"
        assert asked(server.url, f"/token/{TOKEN}/_submeter/", BROWSER)[0] == 200
        status, _, body = asked(server.url, f"/token/{TOKEN}/_submeter/live", BROWSER)
        assert status == 200
        assert TOKEN.encode() not in body


def test_a_browser_at_the_root_is_led_to_the_page_and_leaves_no_row(proxy: ProxyServer) -> None:
    before = proxy.recorder.settled
    status, headers, _ = asked(proxy.url, "/", BROWSER)
    assert (status, headers["location"]) == (303, "_submeter/")
    assert asked(proxy.url, "/_submeter")[1]["location"] == "_submeter/"
    status, headers, body = asked(proxy.url, "/_submeter/", BROWSER)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith(b"<!doctype html>")
    assert proxy.recorder.settled == before


@pytest.mark.parametrize(
    ("path", "headers", "method"),
    [
        ("/", {"Accept": "application/json"}, "GET"),
        ("/", {}, "GET"),
        ("/", BROWSER, "POST"),
        ("/run/r-1/", BROWSER, "GET"),
        ("/v1/models", BROWSER, "GET"),
    ],
)
def test_a_client_of_the_api_is_not_led_there(
    proxy: ProxyServer, path: str, headers: dict[str, str], method: str
) -> None:
    before = proxy.recorder.settled
    status, headers, _ = asked(proxy.url, path, headers, method)
    assert status != 303
    assert proxy.recorder.settled == before + 1


@pytest.mark.parametrize("path", ["/", "/_submeter/", "/_submeter/live", "/_submeter/metrics"])
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["host", "origin", "site"],
)
def test_a_page_of_somebody_else_sees_nothing_of_it(proxy: ProxyServer, path: str, headers: dict[str, str]) -> None:
    assert asked(proxy.url, path, BROWSER | headers)[0] == 403


def test_the_page_may_run_its_own_script_and_style_and_ask_its_own_listener_alone() -> None:
    answer = live_page()
    policy = next(line for line in answer.more if line.startswith("Content-Security-Policy: "))
    for element in ("script", "style"):
        [inline] = re.findall(rf"<{element}>(.*?)</{element}>".encode(), answer.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        assert f"{element}-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    elsewhere = rb"""(?:src|href)=["'](?!data:|#)|\bstyle=|\son\w+=|innerHTML|https?://(?!www\.w3\.org/)"""
    assert re.findall(elsewhere, answer.body) == []
    raw = on_the_wire(answer, method="GET", closes=False).split(b"\r\n\r\n", 1)[0].decode()
    assert "Cache-Control: no-store" in raw
    assert f"Content-Length: {len(answer.body)}" in raw


def test_it_can_only_be_looked_at(proxy: ProxyServer) -> None:
    for path in ("/_submeter/", "/_submeter/live", "/_submeter/metrics"):
        assert asked(proxy.url, path, method="POST")[0] == 405
        status, headers, body = asked(proxy.url, path, method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0


def test_the_proxy_s_own_counters_and_last_calls_are_there_while_the_ledger_is_held(proxy: ProxyServer) -> None:
    path = proxy.recorder.journal.path.parents[1] / "l.duckdb"
    with sidecar(path, exclusive=True, patience=Patience(10.0)):
        body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]})
        parts = urlsplit(proxy.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        fields = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        connection.request("POST", "/run/r-1/step/2/v1/chat/completions", body, fields)
        assert connection.getresponse().read()
        connection.close()
        shown = json.loads(asked(proxy.url, "/_submeter/live")[2])
    assert shown["proxy"]["calls_settled"] == proxy.recorder.settled
    status, headers, scraped = asked(proxy.url, "/_submeter/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'submeter_calls_total{framework="",model="gpt-4o-mini-2024-07-18",operation="create",' in scraped
    assert SECRET.encode() not in scraped
    last = shown["last"][0]
    assert (last["run_id"], last["step"], last["outcome"]) == ("r-1", "2", "metered")
    assert last["input_tokens"] > 0
    assert set(shown) == {"now", "proxy", "open", "last", "ledger", "problem"}


def test_the_figures_are_the_ledger_s_with_steps_verdicts_and_calls_of_no_run(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.begin()
    play.call(step="1", input_tokens=100, output_tokens=5)
    play.call(step="2", input_tokens=30, output_tokens=2)
    play.call(step="2", counts=Usage(), outcome=Outcome.ABORTED)
    play.call(run_id=None, step=None, input_tokens=9, output_tokens=1)
    figures = figures_of(play)
    assert told(figures) == {"ledger": None, "problem": "the ledger was not asked yet"}
    figures.look()
    shown = told(figures)
    assert shown["problem"] is None
    ledger = shown["ledger"]
    [framework] = ledger["frameworks"]
    assert (framework["calls"], framework["input_tokens"], framework["unknown"]) == (4, 139, 1)
    [run] = ledger["runs"]
    assert (run["name"], run["calls"], run["input_tokens"], run["verdict"]) == ("chatdev/r-1", 3, 130, None)
    assert [(step["step"], step["input_tokens"], step["unknown"]) for step in run["steps"]] == [
        ("1", 100, 0),
        ("2", 30, 1),
    ]
    [astray] = ledger["astray"]
    assert (astray["calls"], astray["input_tokens"]) == (1, 9)
    assert [(row["run_id"], row["why"]) for row in ledger["unknown"]] == [
        ("r-1", "the client left before the usage came")
    ]
    assert ledger["verdicts"] == {"none": 1}
    assert sum(row["input_tokens"] for row in (run, astray)) == framework["input_tokens"]


def test_the_ledger_is_asked_again_only_once_it_has_changed_or_half_a_minute_is_over(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call()
    moments = Moments()
    figures = figures_of(play, moments)
    figures.look()
    first = told(figures)["ledger"]["as_of"]
    play.wait(1)
    figures.look()
    assert told(figures)["ledger"]["as_of"] == first
    moments.now += SAME_S_MAX
    figures.look()
    second = told(figures)["ledger"]["as_of"]
    assert second != first
    play.wait(1).call()
    figures.look()
    assert told(figures)["ledger"]["as_of"] != second
    assert told(figures)["ledger"]["frameworks"][0]["calls"] == 2


def test_a_look_that_took_long_is_followed_by_a_rest_of_four_times_as_long(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call()
    moments = Moments()
    figures = figures_of(play, moments)
    figures.look()
    assert figures.rested_at - moments.now == REST_S_MIN
    moments.step = 3.0
    play.call()
    figures.look()
    moments.step = 0.0
    assert figures.rested_at - moments.now == 3.0 * RESTS_PER_LOOK


def test_a_ledger_that_cannot_be_asked_is_said_and_the_last_figures_stay(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call()
    figures = figures_of(play)
    figures.look()
    play.path.write_bytes(b"no ledger at all" * 1000)
    play.call()
    figures.look()
    shown = told(figures)
    assert shown["ledger"]["frameworks"][0]["calls"] == 1
    assert "not a" in shown["problem"] or "no" in shown["problem"]


def test_whoever_asks_never_waits_for_a_look(tmp_path: Path) -> None:
    class Stuck(Ledger):
        def ingest(self, *, wait_s: float = 1.0) -> Any:
            raise AssertionError("the lane asked the ledger")

    figures = LiveFigures(lambda: Stuck(tmp_path / "l.duckdb", clock=FixedClock(0)), FixedClock(0))
    assert figures.latest() == {"ledger": None, "problem": "the ledger was not asked yet"}
    figures.end()
    figures.run()


def test_no_more_calls_are_remembered_than_fit_on_a_page() -> None:
    book = LiveBook()
    for number in range(CALLS_MAX + 5):
        book.note({"call_id": str(number), "usage": {"never": "shown"}, "request_model": "m"})
    shown = book.last_calls()
    assert [shown[0]["call_id"], shown[-1]["call_id"], len(shown)] == [str(CALLS_MAX + 4), "5", CALLS_MAX]
    assert shown[0]["model"] == "m"
    assert "usage" not in shown[0]
    assert open_calls([]) == []


def test_a_control_without_views_has_health_alone_and_names_what_there_is() -> None:
    views = {"": live_page, "live": live_page}
    control = Control(clock=FixedClock(0), apply=lambda mark: mark, follow=lambda mark: mark, health=dict, views=views)
    assert control.answer("GET", "/", b"") is TO_THE_PAGE
    assert control.answer("GET", "/_submeter/", b"") is live_page()
    assert b"health, live, run, step" in control.answer("GET", "/_submeter/other", b"").body
