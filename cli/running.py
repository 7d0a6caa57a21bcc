"""The proxies that run now for a ledger, and how to ask one: for `step` and `doctor`.

A proxy holds an exclusive flock on its journal file as long as it lives, and its first line says where it listens. So
no pid is trusted, a killed proxy is gone at once, and a journal copied from another host is nobody's. A journal is
only ever read here.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from ..data.journal import LINE_BYTES_MAX
from ..data.paths import journal_folder
from ..data.presence import is_held

TOKEN_VARIABLE = "SUBMETER_TOKEN"
ANSWER_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 1024 * 1024
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A listener on every address is asked at the loopback one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProxy:
    """One proxy that is alive and listens."""

    pid: int
    listen: str
    """Its first listener, such as `http://127.0.0.1:8787`."""
    upstream: str | None
    version: str | None
    journal: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAnswer:
    """What a control path answered."""

    status_code: int
    body: bytes

    @property
    def message(self) -> str:
        """The proxy's own words for a refusal, else the start of whatever answered."""
        try:
            return str(orjson.loads(self.body)["error"]["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return self.body[:200].decode("utf-8", "replace")


def running_proxies(ledger: Path) -> list[RunningProxy]:
    """Every proxy of this ledger, on this machine, whose journal is held now; by pid."""
    folder = journal_folder(ledger)
    paths = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    found = [proxy for path in paths if (proxy := _read(path)) is not None]
    return sorted(found, key=lambda proxy: proxy.pid)


def ask(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> ControlAnswer:
    """One control request; raises `OSError` or `HTTPException` where nothing, or nothing sane, answers."""
    parts = urlsplit(url)
    host = ANY_ADDRESS.get(parts.hostname or "", parts.hostname or "")
    connection = http.client.HTTPConnection(host, parts.port or 80, timeout=ANSWER_TIMEOUT_S)
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(TOKEN_VARIABLE):
        headers["X-Submeter-Token"] = token
    try:
        connection.request(method, path, body=None if body is None else orjson.dumps(body), headers=headers)
        response = connection.getresponse()
        return ControlAnswer(status_code=response.status, body=response.read(ANSWER_BYTES_MAX))
    finally:
        connection.close()


def _read(path: Path) -> RunningProxy | None:
    """What the journal's first line says, if a living proxy holds the file."""
    if not is_held([path]):
        return None
    with path.open("rb") as journal:
        line = journal.readline(LINE_BYTES_MAX)
    try:
        first = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    listen = first.get("listen") if isinstance(first, dict) and first.get("kind") == "process" else None
    if not listen:
        return None
    return RunningProxy(
        pid=first["pid"],
        listen=listen[0],
        upstream=first.get("upstream"),
        version=first.get("version"),
        journal=path,
    )
