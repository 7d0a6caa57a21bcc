"""`submeter report`: what it shows is what the ledger says, and its page asks nobody and obeys nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from audit_world import World, world
from click.testing import CliRunner, Result
from ledger_play import Play

import submeter.cli.report
from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.cli.report_page import mood, verdict_text
from submeter.cli.report_pictures import token_parts
from submeter.data.call import Outcome, Usage

CHROMIUM = shutil.which("chromium")
EVIL = "</text></svg><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


def run(there: World | Play, *words: str) -> Result:
    obj = Invocation(ledger=there.path, clock=there.clock)
    result = CliRunner().invoke(cli, ["report", *words], obj=obj)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A verified run; an hour later one that hid a call; a third that nobody audited, with an unknown call."""
    with world(tmp_path_factory.mktemp("reported")) as made:
        made.a_run("r-1")
        made.wait(60)
        made.a_run("r-2")
        made.call(metered=False, tokens=(50, 5, 5))
        made.call(run="r-2", tokens=(1, 0, 1))
        made.judged("r-1", "r-2")
        made.a_run("r-3")
        made.call(run="r-3", outcome=Outcome.NO_USAGE)
        made.call(tokens=(7, 0, 7))
        yield made


@pytest.fixture(scope="module")
def written(here: World) -> Path:
    """The page of all three."""
    path = here.path.parent / "report.html"
    assert run(here, "--html", str(path)).exit_code == 0
    return path


class Page(HTMLParser):
    """The parts of a page that a test asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.rows: list[list[str]] = []
        self.verdicts: list[tuple[str, str]] = []
        self._into: list[str] | None = None
        self._mood = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        self.sources += [told[name] or "" for name in ("src", "href", "xlink:href", "action", "data") if name in told]
        assert not [name for name in told if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        self._into = self.rows[-1] if tag in ("td", "th") and self.rows else None
        if self._into is not None:
            self._into.append("")
        self._mood = (told.get("class") or "").removeprefix("verdict ") if tag == "p" else ""

    def handle_endtag(self, tag: str) -> None:
        self._into = None
        self._mood = ""

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data
        if self._mood in ("good", "bad", "wait"):
            self.verdicts.append((self._mood, data))


def test_verdicts_sums_and_minutes_are_those_of_the_ledger(here: World) -> None:
    told = json.loads(run(here, "r-1", "r-2", "r-3", "--json").stdout)
    assert [(row["name"], row["verdict"], row["input_tokens"], row["unknown"]) for row in told["runs"]] == [
        ("baes/r-1", "verified", 303, 0),
        ("baes/r-2", "short", 304, 0),
        ("baes/r-3", None, 303, 1),
    ]
    assert [each["run"] for each in told["arithmetic"]] == ["baes/r-1", "baes/r-2"]
    assert any("input_tokens: book 304, bill 354, d +50" in line for line in told["arithmetic"][1]["lines"])
    (first, second) = told["minutes"]
    for minutes, book, bill in ((first, 303, 303), (second, 304, 354)):
        rows = minutes["rows"]
        assert sum(row["book_input_tokens"] or 0 for row in rows) == book
        assert sum(row["bill_input_tokens"] or 0 for row in rows) == bill
    assert [(row["framework"], row["step"], row["runs"], row["input_tokens"]) for row in told["steps"]] == [
        ("baes", "1", 3, 910)
    ]
    assert [row["run_id"] for row in told["unknown"]] == ["r-3"]
    assert [row["calls"] for row in told["without_a_run"]] == [1]
    assert told["metering"][0]["upstream"] == "https://api.openai.com"
    assert told["runs"][0]["cost_usd"] == pytest.approx((303 - 123) * 0.15e-6 + 123 * 0.075e-6 + 33 * 0.6e-6)


def test_the_terminal_says_first_how_many_are_proven_and_what_is_in_no_sum(here: World) -> None:
    lines = run(here).stdout.splitlines()
    assert lines[0].endswith(
        "1 with a final verdict that the books agree, 1 whose books differ, 1 not proven either way."
    )
    assert any(line.startswith("Unknown calls: 1. ") and line.endswith("Calls that no run has: 1.") for line in lines)


def test_runs_are_chosen_by_name_framework_and_period(here: World) -> None:
    def names(*words: str) -> list[str]:
        return [row["name"] for row in json.loads(run(here, *words, "--json").stdout)["runs"]]

    assert names("--framework", "BAES", "--from", "2025-10-28T10:00", "--to", "2025-10-28T10:30") == ["baes/r-1"]
    none = run(here, "--framework", "chatdev")
    assert (none.exit_code, len(none.stderr.splitlines())) == (2, 3)
    assert run(here, "--from", "2025-10-28").exit_code == 2


def test_the_page_has_the_same_numbers_and_only_what_is_proven_looks_good(written: Path) -> None:
    page = Page(written.read_text())
    assert page.verdicts == [("good", "verified"), ("bad", "short"), ("wait", "not audited")]
    assert ["baes/r-2", "short", "2025-10-28 11:01:15"] in [row[:3] for row in page.rows]
    assert [row[4:7] for row in page.rows if row and row[0] == "baes/r-2"] == [["4", "304", "123"]]
    assert "script" not in page.tags
    assert page.tags.count("svg") == 4, "tokens, calls, and book and bill of two runs"
    assert [source for source in page.sources if not source.startswith("#")] == []
    assert "url(" not in re.sub(r'url\(["\']?#', "", written.read_text()), "no style or picture from elsewhere"


def test_figures_are_svg_and_pdf_files(here: World, tmp_path: Path) -> None:
    assert run(here, "r-2", "--figures", str(tmp_path / "figures")).exit_code == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == [
        f"{name}.{ending}" for name in ("calls", "minutes-1-baes-r-2", "tokens-by-step") for ending in ("pdf", "svg")
    ]
    for path in (tmp_path / "figures").iterdir():
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        else:
            assert ElementTree.fromstring(path.read_text()).tag.endswith("svg")


def test_names_from_strangers_are_text_in_the_page_and_in_its_pictures(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.begin(run_id=EVIL, framework=EVIL)
    play.call(EVIL, EVIL, framework=EVIL, response_model=EVIL)
    play.call(EVIL, EVIL, framework=EVIL, counts=Usage(), response_model=EVIL, error=EVIL)
    play.call(None, EVIL, framework=EVIL)
    play.end(run_id=EVIL, framework=EVIL)
    path = tmp_path / "report.html"
    result = run(play, "--html", str(path), "--figures", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    text = path.read_text()
    page = Page(text)
    assert {"script", "img", "iframe", "object", "embed"} & set(page.tags) == set()
    assert "7*7" in text
    assert "49" not in re.findall(r">\{*\s*49", text)
    assert [path.parent for path in (tmp_path / "figures").iterdir()] == [tmp_path / "figures"] * 4
    for path in (tmp_path / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(path.read_text()).iter()}
        assert {"script", "img", "image", "foreignObject"} & tags == set()


def test_without_the_extra_tables_stay_and_a_page_names_it(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submeter.cli.report, "find_spec", lambda _name: None)
    assert run(here, "r-1").exit_code == 0
    refused = run(here, "r-1", "--html", "report.html")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)
    assert "submeter[report]" in refused.stderr


def test_files_are_written_before_anything_is_printed(here: World, tmp_path: Path) -> None:
    refused = run(here, "r-1", "--html", str(tmp_path / "none" / "report.html"))
    assert (refused.exit_code, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 3)
    told = run(here, "r-1", "--html", str(tmp_path / "report.html"))
    assert told.output.startswith("Wrote ")
    assert "r-1" in told.stdout


@pytest.mark.parametrize(
    ("verdict", "final", "timing", "looks", "said"),
    [
        ("verified", True, None, "good", "verified"),
        ("verified", False, None, "wait", "verified, not final"),
        ("verified", True, "test", "wait", "verified: proves nothing (timing: test)"),
        ("short", True, "test", "wait", "short: proves nothing (timing: test)"),
        ("over", False, None, "bad", "over, not final"),
        ("pending", False, None, "wait", "pending, not final"),
        (None, None, None, "wait", "not audited"),
    ],
)
def test_only_a_final_verdict_that_the_books_agree_looks_good(
    verdict: str | None, final: bool | None, timing: str | None, looks: str, said: str
) -> None:
    row = {"verdict": verdict, "reason": None, "final": final, "timing": timing}
    assert (mood(row), verdict_text(row)) == (looks, said)


def test_tokens_are_drawn_in_parts_that_add_up_and_what_was_not_said_is_a_part_of_its_own() -> None:
    row = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 5, "reasoning_tokens": None}
    assert token_parts(row) == [("input, not cached", 6), ("input, cached", 4), ("output, reasoning or not", 5)]
    assert token_parts(dict.fromkeys(row)) == []


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on this machine")
def test_a_browser_shows_the_page_without_a_complaint(written: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=420,900", "--dump-dom"]
    ended = subprocess.run([CHROMIUM, *options, written.as_uri()], capture_output=True, text=True, check=False)
    assert Page(ended.stdout).verdicts[0] == ("good", "verified"), ended.stderr[-2000:]
    assert "CONSOLE" not in ended.stderr
