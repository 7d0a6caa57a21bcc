"""Certificates on the command line: `audit --certificate` writes one, `verify` derives its verdict again offline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from metered_world import World, ask, metered_world

from submeter.cli.main import cli

CERTIFICATE = Path("r-1.json")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with metered_world(tmp_path, monkeypatch) as made:
        yield made


def certified(world: World, *words: str) -> Result:
    return world.run("audit", "r-1", "--certificate", str(CERTIFICATE), *words)


def test_a_verified_run_has_a_certificate_that_holds_without_ledger_key_or_network(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = certified(world, "--wait")
    assert made.exit_code == 0, made.output
    digest = hashlib.sha256(CERTIFICATE.read_bytes()).hexdigest()
    assert made.stdout.splitlines()[-1] == f"certificate r-1.json  sha256 {digest}"
    assert CERTIFICATE.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "r-1"))) == ["r-1.json"]
    world.sim.stop()
    for name in ("OPENAI_ADMIN_KEY", "OPENAI_API_KEY_CHATDEV", "OPENAI_API_KEY_CHATDEV_ID", "SUBMETER_USAGE_API_URL"):
        monkeypatch.delenv(name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = CERTIFICATE.rename(elsewhere / "c.json").resolve()
    monkeypatch.chdir(elsewhere)
    result = CliRunner().invoke(cli, ["verify", str(moved)])
    assert result.exit_code == 0, result.output
    first, rules, last = result.stdout.splitlines()
    assert rules.startswith("rules   shift 5 min, settle 60 min, 2 equal reads 30 min apart, made by submeter ")
    assert [first, last] == [
        "chatdev/r-1  verified: follows from the pages and the calls in this file",
        f"sha256  {digest}",
    ]
    assert "not a forgery" in result.stderr
    assert "published elsewhere" in result.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["c.json"]


def test_a_changed_certificate_does_not_hold(world: World) -> None:
    certified(world, "--wait")
    document = json.loads(CERTIFICATE.read_bytes())
    document["chains"][0]["calls"][0]["input_tokens"] += 1
    CERTIFICATE.write_text(json.dumps(document))
    result = world.run("verify", str(CERTIFICATE))
    assert result.exit_code == 1
    assert result.stdout.startswith("chatdev/r-1  verified: does not follow")
    told = world.run("verify", str(CERTIFICATE), "--json")
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert (found["run"], found["verdict"], found["holds"]) == ("chatdev/r-1", "verified", False)
    assert found["problems"]
    assert found["sha256"] == hashlib.sha256(CERTIFICATE.read_bytes()).hexdigest()


def test_what_a_certificate_calls_itself_cannot_pass_for_what_verify_says(world: World) -> None:
    certified(world, "--wait")
    document = json.loads(CERTIFICATE.read_bytes())
    document.update(run="r\x1b[2J\nsha256  0000", verdict="short\n")
    CERTIFICATE.write_text(json.dumps(document))
    lines = world.run("verify", str(CERTIFICATE)).stdout.splitlines()
    assert lines[0].startswith("r\\x1b[2J\\nsha256  0000  short\\n: does not follow")
    assert [line for line in lines if line.startswith("sha256")] == [
        f"sha256  {hashlib.sha256(CERTIFICATE.read_bytes()).hexdigest()}"
    ]


@pytest.mark.parametrize("text", ["", "{}", "not JSON", "[" * 100_000])
def test_what_is_no_certificate_is_exit_code_2_in_three_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    for words in (str(path), str(tmp_path), str(tmp_path / "none.json")):
        result = CliRunner().invoke(cli, ["verify", words])
        assert (result.exit_code, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 3


def test_a_short_run_is_exit_code_1_and_has_a_certificate_too(world: World) -> None:
    ask(world.sim.base_url)
    made = certified(world, "--wait", "--json")
    assert made.exit_code == 1
    named = json.loads(made.stdout)["certificate"]
    assert named == {"file": "r-1.json", "sha256": hashlib.sha256(CERTIFICATE.read_bytes()).hexdigest()}
    assert world.run("verify", "r-1.json").exit_code == 0


def test_a_verdict_that_is_not_final_is_shown_and_gets_no_certificate(world: World) -> None:
    world.past(15)
    result = certified(world)
    assert result.exit_code == 3
    assert result.stdout.startswith("chatdev/r-1  pending")
    assert result.stderr.splitlines()[0] == "There is no certificate for chatdev/r-1."
    assert len(result.stderr.splitlines()) == 3
    assert not CERTIFICATE.exists()
    told = certified(world, "--json")
    assert json.loads(told.stdout)["certificate"] is None


def test_with_the_waiting_rules_off_there_is_none_and_an_older_file_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = '{"format":"submeter certificate 2"}'
    CERTIFICATE.write_text(older)
    monkeypatch.setenv("RECONCILIATION_VERIFICATION_INTERVAL_MIN", "0")
    result = certified(world, "--wait")
    assert result.exit_code == 3
    assert result.stdout.startswith("chatdev/r-1  verified")
    _, why, mend = result.stderr.splitlines()[-3:]
    assert "timing: test" in why
    assert "RECONCILIATION_VERIFICATION_INTERVAL_MIN" in mend
    assert CERTIFICATE.read_text() == older


def test_a_certificate_rests_on_the_shift_and_the_settling_of_its_audit(world: World) -> None:
    assert certified(world, "--wait", "--shift", "20", "--settle", "90").exit_code == 0
    settings = json.loads(CERTIFICATE.read_bytes())["settings"]
    assert (settings["shift_min"], settings["settle_min"]) == (20, 90)
    found = world.run("verify", "r-1.json", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["rules"] == "shift 20 min, settle 90 min, 2 equal reads 30 min apart"


def test_verify_says_that_an_audit_waited_for_less_than_the_defaults(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILIATION_VERIFICATION_INTERVAL_MIN", "5")
    assert certified(world, "--wait").exit_code == 0
    _, rules, less, _ = world.run("verify", "r-1.json").stdout.splitlines()
    assert rules.startswith("rules   shift 5 min, settle 60 min, 2 equal reads 5 min apart, made by submeter ")
    assert less.strip() == (
        "which is less than an audit waits for unless told otherwise: settle 60 min, 2 equal reads 30 min apart"
    )
    assert json.loads(world.run("verify", "r-1.json", "--json").stdout)["below_defaults"] is True


@pytest.mark.parametrize("runs", [[], ["r-1", "r-2"], ["--pending"], ["--pending", "r-1"]])
def test_a_certificate_is_of_one_named_run(world: World, runs: list[str]) -> None:
    result = world.run("audit", *runs, "--certificate", "c.json")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3
    assert json.loads(world.run("sql", "FROM audits", "--json").stdout) == [], "refused before anything was asked"


@pytest.mark.parametrize("path", ["none/c.json", "."])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_asked(world: World, path: str) -> None:
    result = world.run("audit", "r-1", "--wait", "--certificate", path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3
    assert json.loads(world.run("sql", "FROM audits", "--json").stdout) == []


def test_a_certificate_says_what_it_cannot_see(world: World) -> None:
    certified(world, "--wait")
    said = " ".join(json.loads(CERTIFICATE.read_bytes())["cannot_see"])
    for word in ("other keys", "after the last read", "batch", "equal tokens"):
        assert word in said
