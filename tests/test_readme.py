"""What the README and the users' pages say is so: the session runs, queries answer, tables and units are whole."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from submeter.audit.verdict import Verdict
from submeter.cli.main import whole
from submeter.data.call import Standing
from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger

TREE = Path(__file__).resolve().parents[1]
MADE = TREE / "docs" / "ledger.md"
"""Made from the ledger, and held to it by a test of its own."""
PAGES = [TREE / "README.md", *sorted(set((TREE / "docs").glob("*.md")) - {MADE})]
TEXT = "\n".join(page.read_text() for page in PAGES)
END = "@@ the command has ended @@"
READY_S = 60.0


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def leaves(group: click.Group | None = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that is not a group, as it is typed."""
    for name, command in (group or whole()).commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name))


def session() -> list[tuple[str, list[str]]]:
    """The commands of the session, each with the lines it prints, on ports that are free here."""
    (text,) = blocks("console")
    with socket.socket() as one, socket.socket() as other:
        # Both are held until both are chosen, else they may be one.
        free = {}
        for port, holder in (("9123", one), ("8787", other)):
            holder.bind(("127.0.0.1", 0))
            free[port] = str(holder.getsockname()[1])
    text = re.sub("|".join(free), lambda found: free[found[0]], text)
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            if command.startswith("submeter proxy"):
                command = command.replace("submeter proxy", f"submeter proxy --listen {listener(text)}")
            found.append((command, []))
        else:
            found[-1][1].append(line.rstrip())
    return found


def listener(text: str) -> str:
    """The port that the session speaks to."""
    port = re.search(r"127\.0\.0\.1:(\d+)/run/", text)
    assert port is not None
    return port[1]


def await_port(command: str) -> None:
    """Until the server that a background command starts can be reached."""
    port = re.search(r"--(?:port|listen) (\d+)", command)
    assert port is not None, command
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port[1]))) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens for: {command}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_session_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "SUBMETER"))}
    environment = kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    shell = subprocess.Popen(
        ["bash", "-O", "expand_aliases"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        for command, expected in session():
            shell.stdin.write(f"{command}\necho '{END}'\n")
            shell.stdin.flush()
            printed: list[str] = []
            while (line := shell.stdout.readline().rstrip()) != END:
                assert shell.poll() is None, printed
                printed.append(line)
            assert printed == expected, command
            if command.endswith("&"):
                await_port(command)
    finally:
        shell.stdin.write("kill $(jobs -p); wait\n")
        shell.stdin.close()
        shell.stdout.read()
        shell.stdout.close()
        shell.wait()


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = blocks("python")
    told = "import os; print(os.environ['OPENAI_BASE_URL'])"
    before = f"import subprocess, sys\ncmd = [sys.executable, '-c', {told!r}]\n"
    ended = subprocess.run(
        [sys.executable, "-c", before + example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/framework/chatdev/run/r-1/step/1/v1\n", ended.stdout)


def test_every_query_is_answered_by_an_empty_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.duckdb", clock=SystemClock())
    ledger.ingest()
    queries = [query for block in blocks("sql") for query in block.split(";\n") if query.strip()]
    assert len(queries) >= 5
    for query in queries:
        assert ledger.query(query).rows == []


@pytest.mark.parametrize("command", list(leaves()))
def test_every_command_is_on_a_page(command: str) -> None:
    assert f"`submeter {command}`" in TEXT


def test_no_command_is_on_a_page_that_there_is_not() -> None:
    known = whole().commands
    groups = {name for name, command in known.items() if isinstance(command, click.Group)}
    named = set(
        re.findall(r"submeter ([a-z]+(?: [a-z]+)?)", "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", TEXT)]))
    )
    unknown = {
        name
        for name in named
        if (words := name.split())[0] not in known
        or (words[0] in groups and len(words) > 1 and name not in set(leaves()))
    }
    assert unknown == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    (unit,) = blocks("ini")
    program = tmp_path / "submeter"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "submeter.service"
    path.write_text(unit.replace("%h/.local/bin/submeter", str(program)))
    verified = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_readme_fits_a_few_screens() -> None:
    assert len(PAGES[0].read_text().splitlines()) <= 160


def test_every_page_is_linked_from_the_readme() -> None:
    pages = {str(page.relative_to(TREE)) for page in (*PAGES[1:], MADE)}
    # What code cites, for whoever changes it.
    assert pages - {"docs/openai-usage.md"} <= set(re.findall(r"\]\(([^)]+)\)", PAGES[0].read_text()))


def test_every_verdict_and_every_standing_is_explained() -> None:
    for word in (*Verdict, *Standing):
        assert f"| `{word}` |" in TEXT, word


def test_every_test_that_a_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert len(named) >= 17
    assert {name for name in named if f"def {name}(" not in tests} == set()
