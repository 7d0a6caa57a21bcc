"""Each check of `submeter doctor` fails once here, says what to do, and never shows a secret."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_play import Play

from submeter.cli.checks import (
    Finding,
    State,
    check_admin_key,
    check_journal_folder,
    check_keys,
    check_lock,
    check_proxies,
    check_upstream,
    exit_code_of,
)
from submeter.cli.token_checks import check_tokens
from submeter.data.clock import FixedClock
from submeter.data.keys import read_keys
from submeter.data.paths import lock_path
from submeter.sim import Sim

NOW_US = 1_795_000_000_000_000
SECRET = "sk-secret-of-chatdev"

GOOD = {
    "OPENAI_API_KEY_CHATDEV": SECRET,
    "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev1",
    "OPENAI_API_KEY_BAES": "sk-secret-of-baes",
    "OPENAI_API_KEY_BAES_ID": "key_baes1",
}


def wrong(findings: list[Finding]) -> list[str]:
    for finding in findings:
        assert SECRET not in finding.said + (finding.next_step or "")
        assert (finding.next_step is None) == (finding.state is State.FINE)
    return [finding.check for finding in findings if finding.state is State.WRONG]


def test_two_keys_with_an_id_each_are_fine() -> None:
    findings = check_keys(read_keys(GOOD))
    assert wrong(findings) == []
    assert [finding.check for finding in findings] == ["keys", "key ids"]


def test_no_framework_key_is_wrong() -> None:
    assert wrong(check_keys(read_keys({"OPENAI_API_KEY": SECRET}))) == ["keys"]


def test_a_key_without_an_id_is_wrong() -> None:
    named = {name: value for name, value in GOOD.items() if name != "OPENAI_API_KEY_BAES_ID"}
    findings = check_keys(read_keys(named))
    assert wrong(findings) == ["key ids"]
    assert "OPENAI_API_KEY_BAES_ID is not set" in findings[-1].said


def test_an_id_that_is_no_id_is_wrong_and_not_shown_since_it_may_be_the_secret() -> None:
    given = "the name of my key"
    findings = check_keys(read_keys(GOOD | {"OPENAI_API_KEY_CHATDEV_ID": given}))
    assert wrong(findings) == ["key ids"]
    assert given not in repr(findings)


def test_ids_alone_are_the_keys_of_frameworks_whose_tokens_change() -> None:
    assert wrong(check_keys(read_keys({"OPENAI_API_KEY_BAES_ID": "key_baes1"}))) == []


def test_one_id_for_tokens_of_two_frameworks_is_wrong() -> None:
    findings = check_keys(read_keys({"OPENAI_API_KEY_BAES_ID": "key_1", "OPENAI_API_KEY_CHATDEV_ID": "key_1"}))
    assert wrong(findings) == ["duplicate keys"]
    assert "OPENAI_API_KEY_BAES_ID and OPENAI_API_KEY_CHATDEV_ID are the same id" in findings[-1].said


def test_calls_with_keys_that_no_variable_holds_say_how_to_give_the_id_of_tokens_that_change(tmp_path: Path) -> None:
    play = Play(tmp_path)
    assert check_tokens(tmp_path / "none.duckdb", read_keys({}), play.clock) == []
    for number in range(2):
        play.call(framework="baes", key=f"fp-{number}", api_key_id=None)
    play.ledger.ingest()
    (found,) = check_tokens(play.ledger.path, read_keys({}), play.clock)
    assert (found.state, found.said) == (State.WRONG, "Calls of baes carry 2 keys that no variable holds.")
    assert "OPENAI_API_KEY_BAES_ID" in (found.next_step or "")
    for given in ({"OPENAI_API_KEY_BAES_ID": "key_baes1"}, {"OPENAI_API_KEY_BAES": SECRET}):
        assert check_tokens(play.ledger.path, read_keys(given), play.clock) == []


def test_one_secret_under_two_frameworks_is_wrong() -> None:
    findings = check_keys(read_keys(GOOD | {"OPENAI_API_KEY_BAES": SECRET}))
    assert wrong(findings) == ["duplicate keys"]
    assert "OPENAI_API_KEY_BAES and OPENAI_API_KEY_CHATDEV" in findings[1].said


def test_one_id_under_two_frameworks_is_wrong() -> None:
    assert wrong(check_keys(read_keys(GOOD | {"OPENAI_API_KEY_BAES_ID": "key_chatdev1"}))) == ["duplicate keys"]


def test_an_admin_key_that_may_read_usage_is_fine() -> None:
    with Sim() as sim:
        named = {"OPENAI_ADMIN_KEY": sim.admin_key, "SUBMETER_USAGE_API_URL": sim.base_url}
        finding = check_admin_key(named, FixedClock(NOW_US), "key_sim0001")
    assert finding.state is State.FINE, finding


def test_no_admin_key_is_wrong() -> None:
    finding = check_admin_key({}, FixedClock(NOW_US), None)
    assert wrong([finding]) == ["admin key"]


def test_an_admin_key_that_is_not_permitted_cannot_tell_and_repeats_the_providers_words() -> None:
    with Sim(admin_scopes=frozenset()) as sim:
        named = {"OPENAI_ADMIN_KEY": sim.admin_key, "SUBMETER_USAGE_API_URL": sim.base_url}
        finding = check_admin_key(named, FixedClock(NOW_US), "key_sim0001")
    assert finding.state is State.CANNOT_TELL
    assert "403" in finding.said
    assert "api.usage.read" in finding.said


def test_a_usage_api_that_does_not_answer_cannot_tell() -> None:
    named = {"OPENAI_ADMIN_KEY": SECRET, "SUBMETER_USAGE_API_URL": f"http://127.0.0.1:{unused_port()}/v1"}
    finding = check_admin_key(named, FixedClock(NOW_US), None)
    assert finding.state is State.CANNOT_TELL
    assert wrong([finding]) == []


def test_an_admin_setting_that_is_none_is_wrong() -> None:
    finding = check_admin_key({"OPENAI_ADMIN_KEY": "two words"}, FixedClock(NOW_US), None)
    assert wrong([finding]) == ["admin key"]
    assert "two words" not in finding.said


def test_an_upstream_that_refuses_a_request_without_a_key_is_there() -> None:
    with Sim() as sim:
        for url in (sim.url, sim.base_url):
            finding = check_upstream(url)
            assert finding.state is State.FINE, finding


def test_an_upstream_that_does_not_answer_cannot_tell() -> None:
    finding = check_upstream(f"http://127.0.0.1:{unused_port()}")
    assert finding.state is State.CANNOT_TELL
    assert "does not answer" in finding.said


def test_a_journal_folder_that_cannot_be_written_to_is_wrong(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    assert check_journal_folder(ledger).state is State.FINE
    blocked = tmp_path / "file"
    blocked.touch()
    assert wrong([check_journal_folder(blocked / "l.duckdb")]) == ["journal"]
    assert list(tmp_path.iterdir()) == [blocked]


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system does not tell who holds a lock")
def test_a_ledger_that_somebody_holds_is_wrong_and_the_holder_is_named(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    ledger.touch()
    clock = FixedClock(NOW_US)
    command = [sys.executable, "-c", HOLD, str(lock_path(ledger))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        finding = check_lock(ledger, clock)
        process.communicate("")
    assert wrong([finding]) == ["lock"]
    assert f"(pid {process.pid})" in finding.said
    assert clock.now_us() > NOW_US, "it looks more than once before it says so"
    assert check_lock(ledger, clock).state is State.FINE


def test_no_running_proxy_is_said_and_is_not_wrong() -> None:
    assert wrong([check_proxies([])]) == []


def test_what_is_to_be_mended_comes_before_what_could_not_be_told() -> None:
    fine = Finding(check="a", state=State.FINE, said="")
    mend = Finding(check="b", state=State.WRONG, said="", next_step="x")
    unsure = Finding(check="c", state=State.CANNOT_TELL, said="", next_step="x")
    assert [exit_code_of([fine]), exit_code_of([fine, unsure]), exit_code_of([unsure, mend])] == [0, 3, 1]


def unused_port() -> int:
    """A port of this machine that nothing listens on, as far as one can know."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
