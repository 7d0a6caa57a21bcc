"""The wheel holds what the tree holds, no more and no less."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
FOLDERS = ("proxy", "audit", "data", "sim", "cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, with the setuptools of this environment and no network."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TREE / name, copy / name)
    for folder in FOLDERS:
        shutil.copytree(TREE / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_module_query_and_type_marker_of_the_tree(wheel: zipfile.ZipFile) -> None:
    in_wheel = {name for name in wheel.namelist() if ".dist-info/" not in name}
    in_tree = {
        f"submeter/{path.relative_to(TREE)}"
        for folder in FOLDERS
        for path in (TREE / folder).rglob("*")
        if path.suffix in (".py", ".sql", ".html") or path.name == "py.typed"
    }
    assert in_wheel == in_tree


def test_the_five_folders_are_flat_because_a_sub_package_would_be_missing_from_the_wheel() -> None:
    nested = [
        path.relative_to(TREE)
        for folder in FOLDERS
        for path in (TREE / folder).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    ]
    assert nested == []


def test_each_folder_says_that_it_is_typed() -> None:
    assert [folder for folder in FOLDERS if not (TREE / folder / "py.typed").is_file()] == []


def test_submeter_itself_is_a_namespace_so_no_folder_owns_it(wheel: zipfile.ZipFile) -> None:
    assert "submeter/__init__.py" not in wheel.namelist()


def test_the_wheel_installs_the_command_and_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "submeter = submeter.cli.main:main" in wheel.read(entry_points).decode()
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_every_dependency_we_name_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    extras = (line for lines in project["optional-dependencies"].values() for line in lines)
    named = [*project["dependencies"], *(line for line in extras if _plain(line) != project["name"])]
    pinned = {_plain(line.partition("==")[0]) for line in _constraints()}
    assert [line for line in named if _plain(line) not in pinned] == []


def test_a_constraint_is_a_plain_name_and_version_and_says_nothing_of_where_it_comes_from() -> None:
    for line in _constraints():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        name, equals, version = requirement.partition("==")
        assert name, line
        assert equals, line
        assert version, line
        assert not marker or marker.startswith("python_version"), line


def test_the_type_checkers_follow_links_to_the_folders() -> None:
    for folder in FOLDERS:
        assert (TREE / ".links" / "submeter" / folder).resolve() == TREE / folder


def _constraints() -> list[str]:
    return (TREE / "constraints.txt").read_text().splitlines()


def _plain(requirement: str) -> str:
    """The normal form of the name a requirement begins with."""
    name = requirement
    for sign in "<>=!~[; ":
        name = name.partition(sign)[0]
    return name.lower().replace("_", "-")
