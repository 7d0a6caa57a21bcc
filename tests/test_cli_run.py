"""`submeter run`: the command's streams, signals and exit code are its own; its calls are one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree

from submeter.audit.settings import ADMIN_KEYS
from submeter.cli.no_calls import what_to_try
from submeter.cli.run import knows_key, used_text
from submeter.cli.run_environment import (
    PROFILES,
    Label,
    Metered,
    check_keys_of,
    check_variables,
    child_environment,
    withheld_from,
)
from submeter.data.clock import SystemClock
from submeter.data.error import SubmeterError
from submeter.data.keys import fingerprint, read_keys
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.proxy import Submeter
from submeter.proxy.child import ChildProxy
from submeter.proxy.listen import Listen
from submeter.sim import Key, Sim

SECRET = "sk-sim-of-the-command-0001"
OTHER_SECRET = "sk-sim-of-another-0002"
KEYS = (Key(secret=SECRET, api_key_id="key_chatdev"), Key(secret=OTHER_SECRET, api_key_id="key_baes"))
SUBMETER = [sys.executable, "-m", "submeter.cli.main"]
RUN_S_MAX = 60.0
ONE_CALL = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode(),
    {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
)
urllib.request.urlopen(request).read()
"""
SAY_SIGNAL = """
import signal, sys
def told(number, frame):
    print("told", number, flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
while True:
    signal.pause()
"""
COUNT_INTERRUPTS = """
import signal, sys
told = []
def interrupted(number, frame):
    told.append(number)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGALRM, lambda number, frame: sys.exit(len(told)))
print("ready", flush=True)
while True:
    signal.pause()
"""
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment of its own: a ledger, a data folder, the key of one framework, and nothing of the caller's."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUBMETER_"))}
    return {
        **mine,
        "SUBMETER_LEDGER": str(tmp_path / "l.duckdb"),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "OPENAI_API_KEY_CHATDEV": SECRET,
        "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev",
    }


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with Sim(keys=KEYS) as running:
        yield running


def submeter_run(
    place: dict[str, str], *words: str, data: bytes | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    command = [*SUBMETER, "run", "--framework", "chatdev", *words]
    folder = Path(place["SUBMETER_LEDGER"]).parent
    return subprocess.run(command, env=place, cwd=folder, input=data, capture_output=True, timeout=RUN_S_MAX, **more)


def table(place: dict[str, str], sql: str) -> list[tuple[Any, ...]]:
    ledger = Ledger(Path(place["SUBMETER_LEDGER"]), clock=SystemClock())
    ledger.ingest()
    assert_sums_agree(ledger)
    return ledger.query(sql).rows


def test_a_command_s_calls_are_one_run_with_its_step_its_key_and_a_summary(
    place: dict[str, str], sim: Sim, tmp_path: Path
) -> None:
    python = [sys.executable, "-c", f"{ONE_CALL}\nprint(json.dumps(dict(os.environ)))"]
    others = {name: f"sk-kept-from-it-{name}" for name in (*ADMIN_KEYS, "OPENAI_API_KEY_GHSPEC")}
    everywhere = {**place, **others}
    done = submeter_run(everywhere, "--run", "r 1/a", "--step", "4.7", "--upstream", sim.url, "--", *python)
    assert done.returncode == 0, done.stderr
    assert "sk-kept-from-it" not in done.stdout.decode()
    assert json.loads(done.stdout)["OPENAI_API_KEY"] == SECRET
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + done.stderr
    assert SECRET.encode() not in left
    assert b"sk-kept-from-it" not in left
    assert table(place, "SELECT framework, run_id, step, label_source, api_key_id, standing FROM calls") == [
        ("chatdev", "r 1/a", "4.7", "url", "key_chatdev", "counted")
    ]
    assert table(place, "SELECT name, end_source, status FROM runs") == [("chatdev/r 1/a", "mark", "success")]
    assert table(place, "SELECT step, status, covered FROM steps") == [("4.7", "success", True)]
    last = done.stderr.decode().splitlines()[-1]
    tokens = sim.books.entries[-1].counts
    assert f"1 call, {tokens.input_tokens:,} input tokens" in last
    assert f"{tokens.output_tokens:,} output tokens, 0 unknown" in last
    assert "  step 4.7: 1 call" in done.stderr.decode()
    assert SECRET not in done.stderr.decode()


def test_what_the_command_reads_and_prints_is_its_own_to_the_byte(place: dict[str, str]) -> None:
    data = bytes(range(256)) * 1000
    echo = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.write('its own words')"
    done = submeter_run(place, "--", sys.executable, "-c", echo, data=data)
    assert (done.returncode, done.stdout) == (0, data)
    assert b"its own words" in done.stderr


@pytest.mark.parametrize(
    ("program", "code", "status"),
    [
        ("import sys; sys.exit(3)", 3, "failed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + 9, "failed"),
        ("", 0, "success"),
    ],
)
def test_the_exit_code_is_passed_on_and_is_the_run_s_status(
    place: dict[str, str], program: str, code: int, status: str
) -> None:
    done = submeter_run(place, "--run", "r-1", "--", sys.executable, "-c", program)
    assert done.returncode == code, done.stderr
    assert table(place, "SELECT name, status FROM runs") == [("chatdev/r-1", status)]


def test_a_signal_sent_to_us_is_the_command_s_and_its_exit_code_is_ours(place: dict[str, str]) -> None:
    command = [*SUBMETER, "run", "--framework", "chatdev", "--run", "r-1", "--", sys.executable, "-c", SAY_SIGNAL]
    with subprocess.Popen(command, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"told 15\n"
        assert process.wait(RUN_S_MAX) == 7
        process.communicate()
    assert table(place, "SELECT status FROM runs") == [("failed",)]


def test_ctrl_c_at_a_terminal_reaches_the_command_once(place: dict[str, str]) -> None:
    terminal, other_end = os.openpty()
    command = [*SUBMETER, "run", "--framework", "chatdev", "--", sys.executable, "-c", COUNT_INTERRUPTS]
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        env=place,
        stdin=other_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.write(terminal, b"\x03")
        assert process.wait(RUN_S_MAX) == 1
    os.close(terminal)
    os.close(other_end)


def test_the_command_starts_with_no_signal_blocked_or_ignored(place: dict[str, str]) -> None:
    program = (
        "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),"
        " [signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)])"
    )
    assert submeter_run(place, "--", sys.executable, "-c", program).stdout == b"[] [False, False, False]\n"


@pytest.mark.parametrize(("word", "code"), [("no-such-program-here", 127), ("./plain.txt", 126)])
def test_a_command_that_cannot_be_run_is_the_shell_s_exit_code_and_no_run(
    place: dict[str, str], word: str, code: int
) -> None:
    folder = Path(place["SUBMETER_LEDGER"]).parent
    (folder / "plain.txt").write_text("no program")
    done = submeter_run(place, "--", word)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 3
    assert not journal_folder(Path(place["SUBMETER_LEDGER"])).exists()


def test_a_running_proxy_of_the_ledger_is_used_and_goes_on(place: dict[str, str], sim: Sim) -> None:
    with Submeter(place["SUBMETER_LEDGER"], upstream=sim.url, environment=place) as meter:
        done = submeter_run(place, "--run", "r-1", "--", sys.executable, "-c", ONE_CALL)
        assert done.returncode == 0, done.stderr
        assert f"at {meter.url}, which was running" in done.stderr.decode()
        assert meter.url
    assert table(place, "SELECT framework, run_id FROM calls") == [("chatdev", "r-1")]
    assert table(place, "SELECT mode, upstream FROM processes") == [("python", sim.url)]
    assert table(place, "SELECT marked_by, edge FROM marks ORDER BY marked_at") == [("cli", "begin"), ("cli", "end")]


def test_a_running_proxy_with_another_upstream_or_without_the_key_is_left_alone(
    place: dict[str, str], sim: Sim
) -> None:
    without = {name: value for name, value in place.items() if "CHATDEV" not in name}
    with Submeter(place["SUBMETER_LEDGER"], upstream="http://127.0.0.1:9", environment=place):
        done = submeter_run(place, "--upstream", sim.url, "--", sys.executable, "-c", ONE_CALL)
        assert b"which was running" not in done.stderr
        assert done.returncode == 0, done.stderr
    with Submeter(place["SUBMETER_LEDGER"], upstream=sim.url, environment=without):
        done = submeter_run(place, "--upstream", sim.url, "--", sys.executable, "-c", ONE_CALL)
        assert b"which was running" not in done.stderr
    assert table(place, "SELECT count(*), count(api_key_id) FROM calls") == [(2, 2)]


def test_two_commands_at_once_share_a_ledger_and_keep_their_calls_apart(place: dict[str, str], sim: Sim) -> None:
    def go(run_id: str) -> None:
        submeter_run(place, "--run", run_id, "--upstream", sim.url, "--", sys.executable, "-c", ONE_CALL * 3)

    threads = [threading.Thread(target=go, args=(f"r-{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table(place, "SELECT run_id, count(*) FROM calls GROUP BY run_id ORDER BY run_id") == [
        ("r-0", 3),
        ("r-1", 3),
    ]


def test_a_step_marked_while_two_proxies_run_labels_the_calls_of_both_and_is_one_visit(
    place: dict[str, str], sim: Sim
) -> None:
    ledger = Path(place["SUBMETER_LEDGER"])
    other = ChildProxy(ledger=ledger, listen=Listen(port=0), upstream=sim.url, drain_s=1.0, environment=place)
    with Submeter(ledger, upstream=sim.url, environment=place) as meter:
        other.start()
        try:
            for words in (["begin", "4.7"], ["end", "4.7"]):
                marked = [*SUBMETER, "step", *words, "--run", "chatdev/r-1"]
                subprocess.run(marked, env=place, check=True, capture_output=True, timeout=RUN_S_MAX)
                for url in (meter.url, other.url) if words[0] == "begin" else ():
                    calling = {**place, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": SECRET}
                    subprocess.run([sys.executable, "-c", ONE_CALL], env=calling, check=True, timeout=RUN_S_MAX)
        finally:
            other.stop(1.0)
    assert table(place, "SELECT run_id, step, label_source FROM calls") == [("r-1", "4.7", "mark")] * 2
    assert table(place, "SELECT step, visit FROM steps") == [("4.7", 1)]


def environment_for(
    before: dict[str, str],
    profile: str,
    said: list[str],
    extra: tuple[str, ...] = (),
    passed: tuple[str, ...] = (),
    intercept: tuple[str, str] | None = None,
) -> dict[str, str]:
    intercept_url, authority = intercept or (None, None)
    return child_environment(
        before,
        Path("no.env"),
        Metered(url="http://127.0.0.1:8787", intercept_url=intercept_url, authority=authority),
        label=Label(framework="chatdev", run_id="r 1", step="4/7"),
        keys=read_keys(before),
        profile=PROFILES[profile],
        extra=extra,
        withheld=withheld_from(before, "chatdev", passed),
        say=said.append,
    )


def test_every_base_url_variable_holds_the_labelled_url_and_the_key_goes_where_the_framework_looks() -> None:
    said: list[str] = []
    made = environment_for(
        {"OPENAI_API_KEY_CHATDEV": SECRET, "NO_PROXY": "corp.example"}, "chatdev", said, ("CHAT_URL",)
    )
    url = "http://127.0.0.1:8787/framework/chatdev/run/r%201/step/4%2F7/v1"
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL", "CHAT_URL"):
        assert made[name] == url
    assert made["NO_PROXY"].split(",") == ["corp.example", "127.0.0.1", "localhost", "::1"]
    assert made["OPENAI_API_KEY"] == made["API_KEY"] == SECRET
    assert made["SUBMETER_RUN"] == "chatdev/r 1"
    assert said == ["OPENAI_API_KEY is set to OPENAI_API_KEY_CHATDEV for the command."]


def test_intercepting_sets_no_base_url_but_those_that_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    before = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_BASE": "", "OTHER": "stays"}
    intercept = ("http://127.0.0.1:8788", str(tmp_path))
    made = environment_for(before, "baes", said, ("CHAT_URL",), intercept=intercept)
    assert not {"OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL"} & set(made)
    assert made["CHAT_URL"] == "http://127.0.0.1:8787/framework/chatdev/run/r%201/step/4%2F7/v1"
    assert made["HTTPS_PROXY"].endswith("@127.0.0.1:8788")
    assert made["OTHER"] == "stays"
    assert [line for line in said if "OPENAI_BASE_URL is taken out" in line] == said[:1]

    named = environment_for(before, "baes", said, ("OPENAI_BASE_URL",), intercept=intercept)
    assert named["OPENAI_BASE_URL"] == made["CHAT_URL"]


@pytest.mark.parametrize(
    ("intercept", "words"), [(True, ("aiohttp", "http.client", "--env")), (False, ("--intercept", "--env NAME"))]
)
def test_a_run_without_a_call_says_what_to_try(intercept: bool, words: tuple[str, ...]) -> None:
    said = "\n".join(what_to_try(intercept=intercept))
    assert "no call of this run came by" in said
    assert [word for word in words if word not in said] == []


def test_a_run_without_a_call_has_no_tokens_to_tell() -> None:
    told = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens"))
    beside = {"unknown": 0, "optional": 0, "ambiguous": 0}
    assert used_text([{"calls": 0, **told, **beside}]) == "0 calls, 0 unknown"
    assert used_text([{"calls": 1, **told, **beside, "unknown": 1}]) == (
        "1 call, - input tokens (- cached), - output tokens, 1 unknown"
    )


def test_a_key_that_is_given_stays_and_a_different_one_of_the_framework_is_named() -> None:
    said: list[str] = []
    made = environment_for({"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY": OTHER_SECRET}, "baes", said)
    assert made["OPENAI_API_KEY"] == OTHER_SECRET
    assert "API_KEY" not in made
    assert [line.partition(";")[0] for line in said] == ["Note: OPENAI_API_KEY and OPENAI_API_KEY_CHATDEV differ"]


def test_admin_keys_and_other_frameworks_keys_are_kept_from_the_command_unless_passed() -> None:
    admin = ("OPENAI_ADMIN_KEY", "OPENAI_API_KEY_USAGE_TRACKING", "OPEN_AI_KEY_ADM")
    before = {name: f"sk-{name}" for name in (*admin, "OPENAI_API_KEY_BAES", "OPENAI_API_KEY_CHATDEV")}
    before |= {"OPENAI_API_KEY": OTHER_SECRET, "OPENAI_API_KEY_BAES_ID": "key_baes", "PATH": "/bin"}
    said: list[str] = []
    made = environment_for(before, "baes", said)
    assert {name for name in before if name not in made} == {*admin, "OPENAI_API_KEY_BAES"}
    assert made["OPENAI_API_KEY"] == OTHER_SECRET
    assert all(name in said[0] for name in (*admin, "OPENAI_API_KEY_BAES", "--pass"))
    made = environment_for(before, "baes", said, passed=("OPENAI_ADMIN_KEY", "OPENAI_API_KEY_BAES"))
    assert {name for name in before if name not in made} == set(admin[1:])


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_BAES": SECRET},
        {"OPENAI_API_KEY": SECRET, "OPENAI_API_KEY_BAES": SECRET},
    ],
)
def test_one_key_under_two_frameworks_is_an_error_before_the_run(environment: dict[str, str]) -> None:
    with pytest.raises(SubmeterError) as error:
        check_keys_of(environment, "chatdev", read_keys(environment))
    assert "baes" in error.value.what
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--framework", "a/b"],
        ["--framework", ""],
        ["--framework", "a\nb"],
        ["--framework", "f" * 129],
        ["--env", "A=B"],
        ["--env", ""],
        ["--env", "FINE", "--env", "="],
        ["--pass", "A=sk-secret-of-mine"],
    ],
)
def test_what_can_be_no_framework_or_no_variable_is_refused_before_the_run(
    words: list[str], place: dict[str, str], tmp_path: Path
) -> None:
    done = submeter_run(place, *words, "--", "touch", "ran")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 3, b""), done.stderr
    assert b"sk-secret" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "no run, no journal, no command"


@pytest.mark.parametrize("name", ["", "A=B", "=", "A\0B"])
def test_a_name_that_no_variable_can_have_is_an_error(name: str) -> None:
    with pytest.raises(SubmeterError, match="is not the name of a variable"):
        check_variables(["FINE", name], "--env")


def test_one_key_under_two_frameworks_leaves_no_trace(place: dict[str, str]) -> None:
    done = submeter_run({**place, "OPENAI_API_KEY_BAES": SECRET}, "--", sys.executable, "-c", "")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    assert not journal_folder(Path(place["SUBMETER_LEDGER"])).exists()


def test_a_key_in_the_env_file_serves_and_its_value_is_nowhere_on_disk_or_screen(
    place: dict[str, str], sim: Sim
) -> None:
    folder = Path(place["SUBMETER_LEDGER"]).parent
    (folder / ".env").write_text(f"OPENAI_API_KEY_CHATDEV='{SECRET}'\nOPENAI_API_KEY_CHATDEV_ID=key_of_file\n")
    bare = {name: value for name, value in place.items() if "CHATDEV" not in name}
    done = submeter_run(bare, "--upstream", sim.url, "--", sys.executable, "-c", ONE_CALL)
    assert done.returncode == 0, done.stderr
    assert table(place, "SELECT framework, api_key_id FROM calls") == [("chatdev", "key_of_file")]
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert written
    for content in (done.stdout, done.stderr, *(path.read_bytes() for path in written)):
        assert SECRET.encode() not in content


def test_health_tells_key_fingerprints_and_no_key(place: dict[str, str], sim: Sim) -> None:
    from submeter.proxy.control_client import read_health

    given = {**place, "OPENAI_API_KEY_BAES_ID": "key_tokens"}
    with Submeter(place["SUBMETER_LEDGER"], upstream=sim.url, environment=given) as meter:
        health = read_health(meter.url)
    assert health is not None
    assert [key[0] for key in health["keys"]] == ["chatdev"]
    assert health["token_ids"] == {"baes": "key_tokens"}
    assert SECRET not in json.dumps(health)


def test_a_running_proxy_fits_where_it_would_write_the_key_and_the_id_that_this_shell_has() -> None:
    keyed, tokens = (
        {"OPENAI_API_KEY_BAES": "one", "OPENAI_API_KEY_BAES_ID": "key_1"},
        {"OPENAI_API_KEY_BAES_ID": "key_1"},
    )
    health = {
        "keys": [["baes", fingerprint("one"), "key_1"]],
        "token_ids": {"chatdev": "key_2"},
    }

    def fits(environment: dict[str, str], framework: str = "baes") -> bool:
        return knows_key(health, read_keys(environment), framework)

    assert fits(keyed)
    assert not fits({**keyed, "OPENAI_API_KEY_BAES_ID": "key_9"})
    assert not fits({**keyed, "OPENAI_API_KEY_BAES": "another"})
    assert not fits(tokens), "it would write the calls of another key without an id"
    assert fits({"OPENAI_API_KEY_CHATDEV_ID": "key_2"}, "chatdev")
    assert not fits({"OPENAI_API_KEY_CHATDEV_ID": "key_3"}, "chatdev")
    assert not knows_key({"keys": []}, read_keys(tokens), "baes"), "an older proxy tells no such ids"
    assert fits({}, "ghspec"), "nothing is configured, here as there"
