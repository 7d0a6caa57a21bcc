"""Asking a running proxy over its control paths: one plain request, one answer.

For whoever is not in the proxy's own process: commands, and a meter whose proxy runs as a child. Nothing is tried
twice here, and no secret but the listener's own token is sent.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from ..data.error import SubmeterError
from ..data.marks import Mark
from .control import PREFIX
from .labels import TOKEN_HEADER

TOKEN_VARIABLE = "SUBMETER_TOKEN"
ANSWER_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 1024 * 1024
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A listener on every address is asked at the loopback one."""
CANNOT_TELL = 3


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


def ask(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> ControlAnswer:
    """One control request; raises `OSError` or `HTTPException` where nothing, or nothing sane, answers."""
    parts = urlsplit(url)
    host = ANY_ADDRESS.get(parts.hostname or "", parts.hostname or "")
    connection = http.client.HTTPConnection(host, parts.port or 80, timeout=ANSWER_TIMEOUT_S)
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(TOKEN_VARIABLE):
        headers[TOKEN_HEADER] = token
    try:
        connection.request(method, path, body=None if body is None else orjson.dumps(body), headers=headers)
        response = connection.getresponse()
        return ControlAnswer(status_code=response.status, body=response.read(ANSWER_BYTES_MAX))
    finally:
        connection.close()


def tell(url: str, mark: Mark, *, journal: bool = True) -> None:
    """Give the proxy at `url` a mark of a run or a step; a `SubmeterError` where it did not take it.

    Without `journal` it labels calls by the mark and does not write it down: another proxy of the ledger has.
    """
    body: dict[str, Any] = {"run": mark.run_id, "edge": mark.edge, "by": mark.by, "journal": journal}
    for name in ("step", "framework", "status"):
        if (value := getattr(mark, name)) is not None:
            body[name] = value
    try:
        answer = ask(url, "POST", f"{PREFIX}/{mark.kind}", body)
    except (OSError, http.client.HTTPException) as error:
        raise SubmeterError(
            f"The proxy at {url} does not answer, so the {mark.kind} is not marked there.",
            f"{type(error).__name__}: {error}.",
            "See how it is: submeter doctor",
            exit_code=CANNOT_TELL,
        ) from error
    if answer.status_code != 200:
        lines = answer.message.splitlines()
        if answer.status_code == 400 and len(lines) == 3:
            raise SubmeterError(*lines)  # What is wrong with the mark, in the proxy's own three lines.
        raise SubmeterError(
            f"The proxy at {url} refused the mark with {answer.status_code}.",
            answer.message.splitlines()[0] if answer.message else "It gave no reason.",
            "A listener beyond loopback wants its token in the variable SUBMETER_TOKEN.",
        )


def read_health(url: str) -> dict[str, Any] | None:
    """What the proxy at `url` says of itself; None where it says nothing, or nothing sane."""
    try:
        answer = ask(url, "GET", f"{PREFIX}/health")
        told = orjson.loads(answer.body) if answer.status_code == 200 else None
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return None
    return told if isinstance(told, dict) else None
