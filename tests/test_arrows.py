"""Who may import whom (docs/architecture.md "Arrows"), read from the source itself.

The proxy and the audit meet only in the ledger, as two books must; the simulator shares no code with what it judges.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "proxy": {"proxy", "data"},
    "audit": {"audit", "data"},
    "data": {"data"},
    "sim": {"sim"},
    "cli": {"cli", "proxy", "audit", "data", "sim"},
}
ONLY_IN = {
    "duckdb": {"data/opened.py", "data/parquet.py"},
    "httpx": {"audit/usage_api.py", "proxy/upstream.py"},
    "httptools": {"proxy/message_head.py"},
    "mitmproxy": set(),
    "wsproto": {"proxy/socket_frames.py"},
}


def sources() -> list[Path]:
    return sorted(path for folder in MAY_IMPORT for path in (TREE / folder).glob("*.py"))


@cache
def imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Every import of a module, at its top or inside: each file is parsed once."""
    nodes = ast.walk(ast.parse(path.read_text(), str(path)))
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def imported_folders(path: Path) -> Iterator[tuple[str, str]]:
    """Each folder of ours that a module imports from, with the line that does it."""
    own = path.parent.name
    for node in imports(path):
        where = f"{own}/{path.name}:{node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield own, where
        elif isinstance(node, ast.ImportFrom) and node.level == 2:
            names = [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]
            yield from ((name, where) for name in names)


def imported_packages(path: Path) -> Iterator[tuple[str, str]]:
    """Each package that a module imports by absolute name, with the line that does it."""
    for node in imports(path):
        where = f"{path.parent.name}/{path.name}:{node.lineno}"
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], where


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_the_design_lets_it(folder: str) -> None:
    against = [
        f"{where} imports {other}"
        for path in (TREE / folder).glob("*.py")
        for other, where in imported_folders(path)
        if other not in MAY_IMPORT[folder]
    ]
    assert against == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_an_engine_is_known_only_in_the_files_named_for_it(package: str) -> None:
    against = [
        where
        for path in sources()
        for name, where in imported_packages(path)
        if name == package and f"{path.parent.name}/{path.name}" not in ONLY_IN[package]
    ]
    assert against == []


def test_inside_the_folders_our_own_imports_are_relative_and_go_no_higher_than_submeter() -> None:
    against = [where for path in sources() for name, where in imported_packages(path) if name == "submeter"]
    for path in sources():
        for node in imports(path):
            if isinstance(node, ast.ImportFrom) and node.level > 2:
                against.append(f"{path.parent.name}/{path.name}:{node.lineno}")
    assert against == []


def test_the_reader_of_imports_sees_every_form_of_one(tmp_path: Path) -> None:
    folder = tmp_path / "sim"
    folder.mkdir()
    module = folder / "odd.py"
    module.write_text(
        "from ..data.call import Usage\nfrom .. import proxy\nfrom . import books\n"
        "import duckdb.typing\ndef later() -> None:\n    from httpx import Client\n"
    )
    assert [name for name, _ in imported_folders(module)] == ["data", "proxy", "sim"]
    assert [name for name, _ in imported_packages(module)] == ["duckdb", "httpx"]
