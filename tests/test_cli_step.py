"""`submeter step`: where a mark goes, and who is taken for a running proxy."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from ledger_play import Play

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.cli.running import running_proxies
from submeter.cli.step import without_key
from submeter.data.clock import FixedClock
from submeter.data.journal import Journal
from submeter.data.keys import read_keys
from submeter.data.paths import journal_folder

NOW_US = 1_795_000_000_000_000


def run(ledger: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, words, obj=Invocation(ledger=ledger, clock=FixedClock(NOW_US)))


def lines(ledger: Path) -> list[dict[str, object]]:
    paths = sorted(journal_folder(ledger).glob("*.jsonl"))
    return [orjson.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def test_without_a_proxy_the_mark_is_in_a_journal_of_its_own(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    result = run(ledger, "step", "begin", "4.7", "--run", "chatdev/r-1", "--status", "started")
    assert result.exit_code == 0, result.output
    process, mark, stop = lines(ledger)
    assert (process["kind"], process["mode"], stop["kind"]) == ("process", "mark", "stop")
    assert mark == {
        "v": 1,
        "kind": "step",
        "seq": 1,
        "at": NOW_US,
        "framework": "chatdev",
        "run_id": "r-1",
        "step": "4.7",
        "edge": "begin",
        "status": "started",
        "by": "cli",
        "marked_at": NOW_US,
    }


def test_the_framework_may_stand_in_the_run_or_in_an_option_of_its_own(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    run(ledger, "step", "end", "1", "--run", "r-1", "--framework", "ChatDev")
    run(ledger, "step", "end", "1", "--run", "chatdev/r-1", "--framework", "chatdev")
    run(ledger, "step", "end", "1", "--run", "r-1")
    marks = [line for line in lines(ledger) if line["kind"] == "step"]
    assert sorted(str((mark.get("framework"), mark["run_id"])) for mark in marks) == [
        "('chatdev', 'r-1')",
        "('chatdev', 'r-1')",
        "(None, 'r-1')",
    ]


def test_talk_goes_to_stderr_and_a_mark_prints_no_data(tmp_path: Path) -> None:
    result = run(tmp_path / "l.duckdb", "step", "begin", "1", "--run", "r-1")
    assert result.stdout == ""
    assert "step 1 of r-1" in result.stderr


def test_a_label_that_is_too_long_is_refused_in_three_lines(tmp_path: Path) -> None:
    result = run(tmp_path / "l.duckdb", "step", "begin", "x" * 129, "--run", "r-1")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3
    assert not journal_folder(tmp_path / "l.duckdb").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--run", "a/"],
        ["--run", "/a"],
        ["--run", "r-1", "--framework", ""],
        ["--run", "r-1", "--framework", "x" * 129],
        ["--run", "r-1", "--framework", "chat\ndev"],
        ["--run", "r-1", "--status", "x" * 257],
        ["--run", "r-1", "--status", "two\nlines"],
    ],
)
def test_a_run_framework_or_status_that_is_no_label_is_refused_in_three_lines(tmp_path: Path, words: list[str]) -> None:
    result = run(tmp_path / "l.duckdb", "step", "begin", "1", *words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
    assert not journal_folder(tmp_path / "l.duckdb").exists()


def test_a_proxy_runs_while_its_journal_is_held_and_not_a_moment_longer(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    journal = Journal.open(ledger, mode="proxy", clock=FixedClock(NOW_US))
    journal.begin(upstream="https://api.openai.com", listen=["http://127.0.0.1:8787"])
    (found,) = running_proxies(ledger)
    assert found.listen == "http://127.0.0.1:8787"
    assert found.upstream == "https://api.openai.com"
    journal.close()
    assert running_proxies(ledger) == []


def test_a_process_that_does_not_listen_is_no_proxy(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    with Journal.open(ledger, mode="audit", clock=FixedClock(NOW_US)) as journal:
        journal.begin()
        assert running_proxies(ledger) == []


def test_a_proxy_that_does_not_answer_makes_the_mark_fail_and_not_vanish(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    with Journal.open(ledger, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream=None, listen=["http://127.0.0.1:1"])
        result = run(ledger, "step", "begin", "1", "--run", "r-1")
    assert result.exit_code == 3
    assert "does not answer" in result.stderr
    assert [line["kind"] for line in lines(ledger)] == ["process", "stop"]


def test_one_key_under_two_frameworks_is_said_at_a_step_s_begin_and_the_mark_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CHATDEV", "BAES"):
        monkeypatch.setenv(f"OPENAI_API_KEY_{name}", "sk-one-for-both")
    ledger = tmp_path / "l.duckdb"
    result = run(ledger, "step", "begin", "1", "--run", "chatdev/r-1")
    assert result.exit_code == 0
    assert "Note: One key is used for baes and chatdev." in result.stderr
    assert [line["edge"] for line in lines(ledger) if line["kind"] == "step"] == ["begin"]
    assert "One key" not in run(ledger, "step", "begin", "1", "--run", "ghspec/r-1").stderr


@pytest.mark.parametrize("framework", ["a/b", "", "/", "a\nb"])
def test_what_can_be_no_framework_is_refused_and_leaves_no_mark(framework: str, tmp_path: Path) -> None:
    for edge in ("begin", "end"):
        result = run(tmp_path / "l.duckdb", "step", edge, "1", "--run", "r-1", "--framework", framework)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_step_that_never_began_or_had_ended_is_said_and_kept(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    never = run(ledger, "step", "end", "1", "--run", "chatdev/r-1")
    assert "Note: step 1 of chatdev/r-1 is ended, but it never began" in never.stderr
    ledger = tmp_path / "other" / "l.duckdb"
    for run_named in ("chatdev/r-1", "r-2"):
        run(ledger, "step", "begin", "1", "--run", run_named)
    assert "Note" not in run(ledger, "step", "end", "1", "--run", "chatdev/r-1").stderr
    assert "Note" not in run(ledger, "step", "end", "1", "--run", "baes/r-2").stderr
    for words in (["1", "--run", "baes/r-1"], ["2", "--run", "chatdev/r-1"], ["1", "--run", "chatdev/r-9"]):
        assert "it never began" in run(ledger, "step", "end", *words).stderr
    run(ledger, "step", "begin", "3", "--run", "baes/r-3")
    later = Invocation(ledger=ledger, clock=FixedClock(NOW_US + 1))
    ends = [CliRunner().invoke(cli, ["step", "end", "3", "--run", "baes/r-3"], obj=later) for _ in range(2)]
    assert ["had ended already" in end.stderr for end in ends] == [False, True]
    assert [end.exit_code for end in ends] == [0, 0]


def test_a_mark_of_a_framework_that_has_no_key_is_said_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = tmp_path / "l.duckdb"
    assert "Note" not in run(ledger, "step", "begin", "1", "--run", "chtdev/r-1").stderr, "no key tells of any"
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV", "sk-one")
    assert "Note" not in run(ledger, "step", "begin", "1", "--run", "ChatDev/r-1").stderr
    assert "Note" not in run(ledger, "step", "begin", "1", "--run", "r-1").stderr
    odd = run(ledger, "step", "begin", "1", "--run", "chtdev/r-1")
    assert (odd.exit_code, "no key is set for framework chtdev; there are keys for chatdev" in odd.stderr) == (0, True)


def test_a_run_is_begun_and_ended_by_its_marks(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    begun = run(ledger, "runs", "begin", "ChatDev/r-1")
    assert (begun.exit_code, begun.stdout) == (0, "")
    assert "Marked the begin of chatdev/r-1" in begun.stderr
    later = Invocation(ledger=ledger, clock=FixedClock(NOW_US + 1))
    words = ["runs", "end", "r-1", "--framework", "chatdev", "--status", "success"]
    assert CliRunner().invoke(cli, words, obj=later).exit_code == 0
    marks = [line for line in lines(ledger) if line["kind"] == "run"]
    assert sorted((mark["framework"], mark["run_id"], mark["edge"], mark.get("status")) for mark in marks) == [
        ("chatdev", "r-1", "begin", None),
        ("chatdev", "r-1", "end", "success"),
    ]
    shown = orjson.loads(run(ledger, "runs", "--json").stdout)
    assert [(row["name"], row["end_source"], row["status"]) for row in shown] == [("chatdev/r-1", "mark", "success")]


def test_the_end_of_a_run_that_never_began_or_had_ended_is_said_and_kept(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    never = run(ledger, "runs", "end", "chatdev/r-1")
    assert "Note: chatdev/r-1 is ended, but it never began" in never.stderr
    assert (never.exit_code, [line["kind"] for line in lines(ledger)].count("run")) == (0, 1)
    later = Invocation(ledger=ledger, clock=FixedClock(NOW_US + 1))
    again = CliRunner().invoke(cli, ["runs", "end", "chatdev/r-1"], obj=later)
    assert "it had ended already" in again.stderr
    run(ledger, "runs", "begin", "chatdev/r-2")
    assert "it never began" in run(ledger, "runs", "end", "baes/r-2").stderr
    assert "Note" not in run(ledger, "runs", "end", "chatdev/r-2").stderr
    run(ledger, "step", "begin", "1", "--run", "chatdev/r-3")
    assert "Note" not in run(ledger, "runs", "end", "r-3").stderr, "a step of it began it"


def test_a_run_that_calls_alone_began_may_be_ended(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call("r-1")
    assert "Note" not in run(play.path, "runs", "end", "chatdev/r-1").stderr
    assert "it never began" in run(play.path, "runs", "end", "chatdev/r-10").stderr


def test_a_run_of_a_framework_that_has_no_key_is_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV", "sk-one")
    odd = run(tmp_path / "l.duckdb", "runs", "begin", "chtdev/r-1")
    assert (odd.exit_code, "no key is set for framework chtdev; there are keys for chatdev" in odd.stderr) == (0, True)


def test_a_framework_lacks_a_key_only_where_others_have_one_and_it_has_no_id_either() -> None:
    ring = read_keys({"OPENAI_API_KEY_CHATDEV": "sk-one", "OPENAI_API_KEY_GHSPEC_ID": "key_tokens"})
    assert without_key(ring, "baes") == "no key is set for framework baes; there are keys for chatdev"
    for framework in ("chatdev", "ghspec", None):
        assert without_key(ring, framework) is None
    assert without_key(read_keys({}), "baes") is None


def test_a_run_that_can_be_no_label_is_not_marked(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    for run_id in ("chatdev/", "", "x" * 500):
        refused = run(ledger, "runs", "begin", run_id)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)
    assert lines(ledger) == []
