"""`submeter env`: the lines point a shell at a proxy that runs, by the rules of `submeter run`, and hold no secret."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submeter.cli.env import Settings, check_intercept, settings_of
from submeter.cli.main import cli
from submeter.cli.run_environment import Metered, pointed_environment
from submeter.data.clock import SystemClock
from submeter.data.error import SubmeterError
from submeter.data.keys import read_keys
from submeter.proxy.environment import INTERCEPT_VARIABLES, POINTING_VARIABLES
from submeter.proxy.listen import Listen
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream
from submeter.sim import Key, Sim

SECRET = "sk-sim-of-a-shell-0001"
PLAIN_CALL = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode(),
    {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"},
)
urllib.request.urlopen(request).read()
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyServer]:
    """One that meters and intercepts, before a pretend provider."""
    folder = tmp_path_factory.mktemp("env")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_DATA_HOME", str(folder / "share"))
    with Sim(keys=(Key(secret=SECRET, api_key_id="key_a"),)) as sim:
        server = ProxyServer(
            ledger=folder / "l.duckdb",
            listen=Listen(port=0, intercept_port=0),
            upstream=parse_upstream(sim.url),
            clock=SystemClock(),
            keys=read_keys({"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": "key_a"}),
        )
        server.start()
        yield server
        server.stop(1.0)
    patch.undo()


@pytest.fixture
def ledger(proxy: ProxyServer) -> str:
    return str(proxy.recorder.journal.path.parents[1] / "l.duckdb")


def asked(*words: str, env: dict[str, str | None] | None = None) -> Result:
    clean: dict[str, str | None] = dict.fromkeys((*INTERCEPT_VARIABLES, *POINTING_VARIABLES))
    return CliRunner().invoke(cli, ["env", *words], env={**clean, **(env or {})})


def test_a_shell_that_reads_the_lines_is_metered_with_run_and_step(proxy: ProxyServer, ledger: str) -> None:
    before = proxy.recorder.settled
    script = (
        f'eval "$("{sys.executable}" -m submeter.cli.main env --ledger "{ledger}" --run "chatdev/it\'s" --step 4.7)"\n'
        f'"{sys.executable}" -c "$CALL" && printf "%s\\n" "$SUBMETER_RUN" "$SUBMETER_LEDGER"\n'
    )
    shell = {"PATH": os.environ["PATH"], "CALL": PLAIN_CALL, "KEY": SECRET, "HTTP_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(["sh", "-c", script], env=shell, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["chatdev/it's", ledger]
    assert proxy.recorder.settled == before + 1
    marks = proxy.recorder.journal.path.read_text().splitlines()
    settled = json.loads(marks[-1])
    assert (settled["framework"], settled["run_id"], settled["step"]) == ("chatdev", "it's", "4.7")


def test_the_lines_are_what_run_gives_its_command_and_hold_no_secret(proxy: ProxyServer, ledger: str) -> None:
    secrets: dict[str, str | None] = {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_ADMIN_KEY": "sk-admin-of-nobody"}
    told = asked("--ledger", ledger, "--framework", "ChatDev", "--env", "MY_URL", env=secrets)
    assert told.exit_code == 0, told.output
    assert SECRET not in told.output
    assert "sk-admin" not in told.output
    url = f"{proxy.url}/framework/chatdev/v1"
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL", "MY_URL"):
        assert f"export {name}={url}" in told.stdout.splitlines()
    assert "export NO_PROXY=127.0.0.1,localhost,::1" in told.stdout.splitlines()
    assert "HTTPS_PROXY" not in told.stdout


def test_with_intercept_the_lines_set_proxy_and_certificates_and_take_base_urls_out(
    proxy: ProxyServer, ledger: str
) -> None:
    before: dict[str, str | None] = {"OPENAI_BASE_URL": "https://eu.api.openai.com/v1"}
    told = asked("--ledger", ledger, "--intercept", "--run", "r-1", "--json", env=before)
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["unset"] == ["OPENAI_BASE_URL"]
    assert set(said["export"]) == {*INTERCEPT_VARIABLES, "SUBMETER_RUN", "SUBMETER_LEDGER"}
    assert said["export"]["HTTPS_PROXY"].endswith(f"@{proxy.intercept_url}".replace("http://", ""))
    assert Path(said["export"]["SSL_CERT_FILE"]).read_bytes().count(b"BEGIN CERTIFICATE") > 1
    assert "OPENAI_BASE_URL is taken out" in told.stderr


def test_asked_again_in_a_shell_that_was_told_the_lines_are_the_same_and_nothing_is_noted(
    proxy: ProxyServer, ledger: str
) -> None:
    first = json.loads(asked("--ledger", ledger, "--intercept", "--json").stdout)
    again = asked("--ledger", ledger, "--intercept", "--json", env=first["export"])
    assert json.loads(again.stdout) == first
    assert again.stderr == ""


@pytest.mark.parametrize("intercept", [False, True])
def test_every_variable_that_changes_is_among_the_lines(intercept: bool, tmp_path: Path) -> None:
    before = {"NODE_EXTRA_CA_CERTS": "", "BASE_URL": "http://old", "PATH": "/bin"}
    at = Metered(
        url="http://127.0.0.1:8787",
        intercept_url="http://127.0.0.1:8788" if intercept else None,
        authority=str(tmp_path),
    )
    after = pointed_environment(before, at, run_id="r", extra=("MY_URL",), say=lambda _: None)
    settings = settings_of(before, after, {}, ("MY_URL",), intercept=intercept)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    assert changed.items() <= dict(settings.exported).items()
    assert set(settings.unset) == {name for name in before if name not in after}


def test_a_run_of_which_one_part_is_empty_is_refused_as_a_mark_of_it_is() -> None:
    told = asked("--run", "chatdev/")
    assert (told.exit_code, told.stdout, len(told.stderr.splitlines())) == (2, "", 3)


def test_a_value_is_quoted_for_the_shell() -> None:
    lines = Settings(exported={"A": "it's $(x)"}, unset=("B",)).lines()
    assert lines == ["unset B", """export A='it'"'"'s $(x)'"""]


def test_where_no_proxy_runs_three_lines_say_so_and_nothing_is_printed(tmp_path: Path) -> None:
    told = asked("--ledger", str(tmp_path / "none.duckdb"))
    assert (told.exit_code, told.stdout) == (3, "")
    assert len(told.stderr.splitlines()) == 3


def test_a_proxy_that_does_not_answer_or_is_of_another_machine_is_refused() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = asked("--proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert (away.exit_code, away.stdout, len(away.stderr.splitlines())) == (3, "", 3)
    for elsewhere in ("http://meter.example:8787", "meter.example:8787", "https://127.0.0.1:8787"):
        other = asked("--proxy", elsewhere)
        assert (other.exit_code, other.stdout, len(other.stderr.splitlines())) == (2, "", 3)


def test_a_proxy_is_named_by_its_address_whatever_its_ledger(proxy: ProxyServer, ledger: str) -> None:
    told = asked("--proxy", proxy.url)
    assert f"export SUBMETER_LEDGER={ledger}" in told.stdout.splitlines()


@pytest.mark.parametrize("form", ["{0}", "{0}/", "http://{0}", "http://{0}/v1", "http://{0}/v1/"])
def test_a_proxy_is_named_by_host_and_port_by_its_url_or_by_its_base_url(proxy: ProxyServer, form: str) -> None:
    told = asked("--proxy", form.format(proxy.url.removeprefix("http://")), "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["proxy"] == proxy.url


def test_a_proxy_without_an_intercept_port_cannot_be_an_https_proxy() -> None:
    with pytest.raises(SubmeterError) as refused:
        check_intercept(Metered(url="http://127.0.0.1:8787"))
    assert refused.value.what == "The proxy at http://127.0.0.1:8787 does not intercept."
