"""Who holds a file, as far as the system tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from submeter.cli.locks import PROC, holders

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not (PROC / "locks").exists(), reason="this system does not tell who holds a lock")
def test_a_process_that_holds_the_lock_is_named_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert [holder.pid for holder in holders(path)] == [process.pid]
        assert "python" in str(holders(path)[0])
        process.communicate("")
    assert holders(path) == []


def test_a_file_that_is_not_there_is_held_by_nobody(tmp_path: Path) -> None:
    assert holders(tmp_path / "none") == []


def test_a_lock_on_the_same_inode_number_of_another_device_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    path.touch()
    proc = tmp_path / "proc"
    (proc / "812" / "fd").mkdir(parents=True)
    (proc / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 812 08:01:{path.stat().st_ino} 0 EOF\n")
    assert holders(path, proc) == []
    (proc / "812" / "fd" / "3").symlink_to(path)
    assert [(holder.pid, holder.name) for holder in holders(path, proc)] == [(812, "unknown")]


def test_a_process_that_waits_for_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    path.touch()
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "locks").write_text(f"1: -> FLOCK  ADVISORY  WRITE 812 08:01:{path.stat().st_ino} 0 EOF\n")
    assert holders(path, proc) == []
