"""The command line as a whole: its help, its errors, and what it does not import before it has to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli, whole
from submeter.data.error import SubmeterError

HEAVY = ("mitmproxy", "duckdb", "httpx", "rich", "tornado", "asyncio")
OF_REPORTS = ("scipy", "numpy", "jinja2", "vl_convert", "genai_prices", "pydantic", "pandas")


def commands(
    group: click.Group | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group, with the words that call it."""
    for name, command in (group or whole()).commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    _, _, example = result.output.partition("Example:")
    assert f"submeter {' '.join(path)}" in example


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_option_of_a_command_says_what_it_does(path: tuple[str, ...]) -> None:
    command = dict(commands())[path]
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_and_a_step_mark_import_nothing_heavy_and_runs_nothing_that_reports_need(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from submeter.cli.main import cli\n"
        "try:\n"
        "    cli()\n"
        "finally:\n"
        "    heavy = sys.argv[-1] != 'runs' and HEAVY or ()\n"
        "    print([name for name in (*heavy, *OF_REPORTS) if name in sys.modules])\n"
    )
    program = f"HEAVY, OF_REPORTS = {HEAVY!r}, {OF_REPORTS!r}\n{program}"
    ledger = ["--ledger", str(tmp_path / "l.duckdb")]
    for words in (["--help"], [*ledger, "step", "begin", "1", "--run", "r-1"], [*ledger, "runs"]):
        command = [sys.executable, "-c", program, *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == "[]", ended.stdout


def test_an_error_the_user_can_mend_is_three_lines_on_stderr_and_its_exit_code() -> None:
    @click.command()
    def broken() -> None:
        raise SubmeterError("What.", "Why,\n\nin lines.", "Next.", exit_code=3)

    cli.add_command(broken)
    try:
        result = CliRunner().invoke(cli, ["broken"])
    finally:
        del cli.commands["broken"]
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "What.\nWhy, in lines.\nNext.\n")


def test_a_mistake_of_ours_raises_as_it_is() -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    cli.add_command(broken)
    try:
        result = CliRunner().invoke(cli, ["broken"])
    finally:
        del cli.commands["broken"]
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_wrong_word_is_exit_code_2() -> None:
    assert CliRunner().invoke(cli, ["metre"]).exit_code == 2


def test_a_reader_who_leaves_early_ends_the_command_without_a_word() -> None:
    program = (
        "import click\n"
        "from submeter.cli.main import cli, main\n"
        "@cli.command()\n"
        "def endless():\n"
        "    while True:\n"
        "        click.echo('x' * 1000)\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "endless"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("words", [["--ledger", "a.duckdb", "runs"], ["runs", "--ledger", "a.duckdb"]])
def test_the_ledger_may_be_named_before_the_command_or_after_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUBMETER_LEDGER", "other.duckdb")
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "There is no ledger at a.duckdb"
    assert list(tmp_path.iterdir()) == [], "asking makes no ledger"


def test_the_ledger_is_that_of_the_environment_else_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBMETER_LEDGER", raising=False)
    assert Invocation().ledger == Path("submeter.duckdb")
    monkeypatch.setenv("SUBMETER_LEDGER", "other.duckdb")
    assert Invocation().ledger == Path("other.duckdb")


@pytest.mark.parametrize("path", ["", ".", "/", "a" * 300])
@pytest.mark.parametrize("before", [True, False])
def test_what_can_be_no_ledger_is_refused_in_three_lines(
    path: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    option = ["--ledger", path]
    for words in (["runs"], ["sql", "FROM calls"], ["step", "begin", "1", "--run", "r-1"], ["proxy"], ["doctor"]):
        at = 0 if before else 2 if words[0] == "step" else 1
        result = CliRunner().invoke(cli, [*words[:at], *option, *words[at:]])
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3), result.output
        assert result.stderr.startswith("There can be no ledger at ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_environment_is_no_ledger_and_hinders_only_who_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUBMETER_LEDGER", str(tmp_path))
    result = CliRunner().invoke(cli, ["runs"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
    assert CliRunner().invoke(cli, ["runs", "--help"]).exit_code == 0
    named = CliRunner().invoke(cli, ["runs", "--ledger", "a.duckdb"])
    assert named.stderr.startswith("There is no ledger at a.duckdb")
    (tmp_path / "none.json").write_text("{}")
    assert "not a certificate" in CliRunner().invoke(cli, ["verify", "none.json"]).stderr
