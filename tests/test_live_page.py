"""The live page in a browser: right numbers, live, without an error or a request to anywhere else."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import CHROMIUM, NO_CHROMIUM, Page, browsing

from submeter.data.clock import SystemClock
from submeter.data.keys import read_keys
from submeter.data.ledger import Ledger
from submeter.proxy.listen import Listen
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream
from submeter.sim import Key, Sim

SECRET = "sk-sim-of-a-page-0001"
PROMPT = "a prompt that is nobody's business"
PICTURES = os.environ.get("SUBMETER_PICTURES")
"""A folder for pictures of the page, to be looked at."""
STRANGE = "r<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


def call(url: str, label: str, model: str = "gpt-4o-mini", secret: str = SECRET) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    fields = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}{label}/v1/chat/completions", json.dumps(body).encode(), fields)
    try:
        with urllib.request.urlopen(asked) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.read()
        error.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyServer]:
    folder = tmp_path_factory.mktemp("live")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_DATA_HOME", str(folder / "share"))
    with Sim(keys=(Key(secret=SECRET, api_key_id="key_a"),)) as sim:
        server = ProxyServer(
            ledger=folder / "l.duckdb",
            listen=Listen(port=0),
            upstream=parse_upstream(sim.url),
            clock=SystemClock(),
            keys=read_keys({"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": "key_a"}),
        )
        server.start()
        for step in ("1", "1", "2"):
            call(server.url, f"/run/r-1/step/{step}")
        call(server.url, "/run/r-2", model="no-such-model")
        call(server.url, f"/run/{quote(STRANGE, safe='')}")
        call(server.url, "", secret="sk-of-nobody-0000000")
        yield server
        server.stop(1.0)
    patch.undo()


@pytest.fixture(scope="module")
def page(proxy: ProxyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, opened as a person does who types the listener's address, with the ledger's figures on it."""
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        page.look(width=1280)
        page.open(f"{proxy.url}/")
        page.wait_until("document.querySelectorAll('#runs tr').length >= 4")
        yield page


def cells(page: Page, table: str) -> list[list[str]]:
    rows: list[list[str]] = page.value(
        f"[...document.querySelectorAll('#{table} tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return rows


def test_whoever_types_the_address_is_led_to_a_page_that_asks_nobody_else(proxy: ProxyServer, page: Page) -> None:
    assert page.value("location.href") == f"{proxy.url}/_submeter/"
    assert page.said == []
    assert {url for url in page.asked if not url.startswith((f"{proxy.url}/", "data:"))} == set()
    assert {url.removeprefix(proxy.url) for url in page.asked if url.startswith("http")} == {
        "/",
        "/_submeter/",
        "/_submeter/live",
    }


def test_its_numbers_are_the_ledger_s(proxy: ProxyServer, page: Page) -> None:
    ledger = Ledger(proxy.recorder.journal.path.parents[1] / "l.duckdb", clock=SystemClock())
    ledger.ingest()
    [(calls, inputs, outputs)] = ledger.query(
        "SELECT calls, input_tokens, output_tokens FROM run_usage WHERE run_id = 'r-1'"
    ).rows
    [shown] = [row for row in cells(page, "runs") if row[0].endswith("chatdev/r-1")]
    assert (shown[2], shown[3], shown[5]) == (f"{calls:,}", f"{inputs:,}", f"{outputs:,}")
    [everything] = ledger.query(
        "SELECT count(*), sum(input_tokens) FILTER (standing = 'counted') FROM calls WHERE framework = 'chatdev'"
    ).rows
    [framework] = [row for row in cells(page, "frameworks") if row[0] == "chatdev"]
    assert (framework[1], framework[2]) == tuple(f"{value:,}" for value in everything)
    assert [row[4] for row in cells(page, "refused")] == ["refused 401", "refused 404"]
    assert len(cells(page, "last")) == 6


def test_a_name_is_text_and_no_prompt_or_secret_is_there(page: Page) -> None:
    assert any(STRANGE in row[0] for row in cells(page, "runs"))
    assert page.value("document.querySelectorAll('img').length") == 0
    html = page.value("document.documentElement.outerHTML")
    assert [word for word in (PROMPT, SECRET, "key_a") if word in html] == []


def test_steps_are_opened_by_the_keyboard_and_the_focus_stays_while_figures_change(
    proxy: ProxyServer, page: Page
) -> None:
    page.value("[...document.querySelectorAll('#runs button')].find((b) => b.ariaLabel.endsWith('r-1')).focus()")
    page.press("Enter")
    page.wait_until("[...document.querySelectorAll('#runs tr.step')].length == 2")
    before = page.value("document.getElementById('f-settled').textContent")
    call(proxy.url, "/run/r-1/step/3")
    page.wait_until(f"document.getElementById('f-settled').textContent != '{before}'")
    page.wait_until("[...document.querySelectorAll('#runs tr.step')].length == 3")
    assert page.value("document.activeElement.ariaLabel").endswith("chatdev/r-1")
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.said == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_nothing_runs_out_of_the_window_in_light_dark_and_narrow(page: Page, width: int, dark: bool) -> None:
    page.look(width=width, dark=dark)
    assert page.value("document.documentElement.scrollWidth") <= width
    ground = page.value("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(19, 24, 22)") == dark
    if PICTURES:
        page.picture(Path(PICTURES) / f"live-{width}-{'dark' if dark else 'light'}.png")


def test_paused_it_stands_still_and_says_so(proxy: ProxyServer, page: Page) -> None:
    page.value("document.getElementById('pause').click()")
    asked = len(page.asked)
    assert page.value("document.getElementById('state').textContent").startswith("paused at")
    call(proxy.url, "/run/r-1/step/3")
    page.value("new Promise((kept) => setTimeout(kept, 10))")
    assert len(page.asked) == asked
    page.value("document.getElementById('pause').click()")
    page.wait_until("document.getElementById('state').textContent == 'live'")
