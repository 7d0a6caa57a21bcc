"""What a worker is told when it is started: one line of JSON, through a pipe that nobody else can read.

It is all that a worker goes by, so that one started in a dead one's place is as the others, whatever the environment
and `.env` have become meanwhile. Never here: secrets of frameworks; of their keys there are fingerprints.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ..data.keys import FrameworkKey, KeyRing
from .board import Board
from .listen import Listen
from .live import NOTICE_BYTES_MAX
from .place import Bound, SharedSocket, WorkerPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told."""

    number: int
    """Which of the workers it is, from 0."""
    count: int
    ledger: str
    listen: Listen
    upstream: str
    keys: KeyRing
    grace_s: float
    """How long it waits for open calls when told to stop."""
    receipts: bool
    drain: bool
    logged: str
    """Which calls have a line on stderr, and in which form; see `submeter proxy --help`."""
    log_format: str
    authority: str
    """Folder of the certificate authority."""
    board: int
    """Descriptors: of the shared memory, of each worker's notice, and of the sockets that listen."""
    notices: tuple[int, ...]
    listening: tuple[int, ...]
    intercepting: tuple[int, ...]
    own_secret: str = field(repr=False)

    def of(self, number: int) -> WorkerSettings:
        """The same for another worker."""
        return replace(self, number=number)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the worker inherits."""
        return (self.board, *self.notices, *self.listening, *self.intercepting)

    def place(self) -> WorkerPlace:
        """The place that these descriptors are of. In the worker, once."""
        return WorkerPlace(
            number=self.number,
            count=self.count,
            board=Board(self.board),
            notices=tuple(Board(descriptor, NOTICE_BYTES_MAX) for descriptor in self.notices),
            bound=Bound(listening=_sockets(self.listening), intercepting=_sockets(self.intercepting)),
            authority=Path(self.authority),
            own_secret=self.own_secret,
        )

    def encode(self) -> bytes:
        """As one line."""
        return orjson.dumps(asdict(self)) + b"\n"


def read_settings(line: bytes) -> WorkerSettings:
    """What `encode` made a line of."""
    told: dict[str, Any] = orjson.loads(line)
    ring = told.pop("keys")
    keys = KeyRing(keys=tuple(FrameworkKey(**key) for key in ring["keys"]), token_ids=ring["token_ids"])
    lists = {name: tuple(told.pop(name)) for name in ("notices", "listening", "intercepting")}
    return WorkerSettings(**told | lists | {"keys": keys, "listen": Listen(**told["listen"])})


def _sockets(descriptors: Sequence[int]) -> tuple[SharedSocket, ...]:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return tuple(SharedSocket(fileno=descriptor) for descriptor in descriptors)
