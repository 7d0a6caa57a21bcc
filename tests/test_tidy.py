"""Rules of the house that a machine can hold: sizes, names, docstrings, and nothing that belongs to one machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
FOLDERS = ("proxy", "audit", "data", "sim", "cli")
LINES_MAX = 400
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}
# Spelled in two parts, so that this file does not hold what it forbids.
MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/" + r"(?:root|home|Users|work|opt)/[\w.]")
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(first + second)
        for first, second in (
            ("pypi", ".org"),
            ("python", "hosted.org"),
            ("npm", "js.org"),
            ("npm", "js.com"),
            ("yarn", "pkg.com"),
            ("crates", ".io"),
        )
    )
)
LEFT_OVER = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b")


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (TREE / folder).glob("*.py"))


def tracked() -> list[Path]:
    """Every text file that git knows here, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=TREE,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [TREE / name for name in listed.stdout.decode().split("\0") if name]
    return [
        path for path in paths if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:4096]
    ]


def test_no_source_file_is_over_400_lines() -> None:
    long = {str(path.relative_to(TREE)): lines for path in modules() if (lines := _lines(path)) > LINES_MAX}
    assert long == {}


def test_no_query_is_over_400_lines() -> None:
    long = {path.name: lines for path in (TREE / "data").glob("*.sql") if (lines := _lines(path)) > LINES_MAX}
    assert long == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    paths = [*modules(), *(TREE / "tests").glob("*.py")]
    assert [path.name for path in paths if EMPTY_NAMES & set(path.stem.split("_"))] == []


def test_every_module_says_what_it_is() -> None:
    paths = [*modules(), *(TREE / "tests").glob("*.py")]
    silent = [str(path.relative_to(TREE)) for path in paths if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [("a path of one machine", MACHINE_PATHS), ("a registry's host", REGISTRY_HOSTS), ("unfinished work", LEFT_OVER)],
)
def test_no_file_names(what: str, pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(TREE)}:{number}: {what}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE_PATHS.search("open('" + "/ro" + "ot/x')")
    assert not MACHINE_PATHS.search("https://api.example/ho" + "me/x")
    assert REGISTRY_HOSTS.search("https://files.python" + "hosted.org/x")
    assert LEFT_OVER.search("# TO" + "DO later")


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
