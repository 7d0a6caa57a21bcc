"""The proxies that run now for a ledger: for `step`, `run` and `doctor`.

A proxy holds an exclusive flock on its journal file as long as it lives, and its first line says where it listens. So
no pid is trusted, a killed proxy is gone at once, and a journal copied from another host is nobody's. A journal is
only ever read here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..data.columns import Kind
from ..data.journal_line import LINE_BYTES_MAX
from ..data.paths import journal_folder
from ..data.presence import is_held
from ..data.replay import Line, decode
from ..data.system import read_file


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProxy:
    """One proxy that is alive and listens."""

    pid: int
    listen: str
    """Its first listener, such as `http://127.0.0.1:8787`."""
    upstream: str | None
    version: str | None
    journal: Path
    workers: int = 1
    """Processes that share this listener; the rest is the first one's."""


def running_proxies(ledger: Path) -> list[RunningProxy]:
    """Every proxy of this ledger, on this machine, whose journal is held now; by pid. Workers are one proxy."""
    folder = journal_folder(ledger)
    paths = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    found = [proxy for path in paths if (proxy := _read(path)) is not None]
    by_listener: dict[str, RunningProxy] = {}
    for proxy in sorted(found, key=lambda proxy: proxy.pid):
        known = by_listener.get(proxy.listen)
        by_listener[proxy.listen] = proxy if known is None else replace(known, workers=known.workers + 1)
    return list(by_listener.values())


def _read(path: Path) -> RunningProxy | None:
    """What the journal's first line says, if a living proxy holds the file."""
    if not is_held([path]):
        return None
    try:
        first = decode(read_file(path, LINE_BYTES_MAX).split(b"\n", 1)[0], 0)
    except OSError:
        return None
    # A newer submeter's proxy is not spoken to: what its line says is not known here.
    if not isinstance(first, Line) or first.kind is not Kind.PROCESS or not first.fields.get("listen"):
        return None
    return RunningProxy(
        pid=first.fields["pid"],
        listen=first.fields["listen"][0],
        upstream=first.fields.get("upstream"),
        version=first.fields.get("version"),
        journal=path,
    )
