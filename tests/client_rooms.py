"""Client libraries in environments of their own, as users have them: their pins and the engine's do not fit together.

Made once, beside the checkout's own `.venv`, at the newest version the registry has on that day.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SDK = "openai[realtime]"
"""What all tests of the openai SDK install: with what its sockets need, so that one environment serves them all."""
ROOT = Path(__file__).resolve().parents[1]
INSTALL_S_MAX = 900


def python_with(*packages: str) -> Path:
    """A Python interpreter that has these packages and nothing of ours.

    A pip of its own, and every module compiled whether used or not, would cost four times what the packages do.
    """
    room = ROOT / ".venv-clients" / f"{'-'.join(packages)}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = room / "bin" / "python"
    with _alone(room):
        if not (room / "ready").exists():
            shutil.rmtree(room, ignore_errors=True)
            _install([sys.executable, "-m", "venv", "--without-pip", str(room)])
            pip = [sys.executable, "-m", "pip", "--python", str(python)]
            _install([*pip, "install", "--quiet", "--no-compile", *packages])
            (room / "ready").touch()
    return python


def node_with(*packages: str) -> tuple[str, Path]:
    """The node interpreter, and a folder whose scripts can import these packages."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    room = ROOT / ".venv-clients" / f"node-{'-'.join(packages)}".replace("/", "+")
    with _alone(room):
        if not (room / "ready").exists():
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
            (room / "package.json").write_text('{"private": true, "type": "module"}\n')
            _install([npm, "install", "--no-audit", "--no-fund", "--silent", "--no-package-lock", *packages], cwd=room)
            (room / "ready").touch()
    return node, room


@contextmanager
def _alone(room: Path) -> Iterator[None]:
    """One process at a time makes a room, or looks whether it is made."""
    room.parent.mkdir(exist_ok=True)
    with (room.parent / f"{room.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S_MAX, env=dict(os.environ))
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
