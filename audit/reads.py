"""Makes reads and keeps them: raw pages beside the journal first, then the line that names them.

A page is `reads/<sha256>.json.gz`, named by the digest of its uncompressed bytes, 0600, on disk before the line that
says it was read. The ledger judges a read from its pages once, when it takes it in; after that an audit only asks
`PageStore.held` whether the pages that a verdict would rest on are still there. After a crash the next audit finds
what was kept and goes on from there.

Nothing is judged here, and nothing of the admin key comes this far.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from ..data.error import SubmeterError
from ..data.journal import Journal, new_call_id
from ..data.pages import PageUnusableError, page_body, page_name
from ..data.system import words
from ..data.usage_pages import UsageEndpoint
from .usage_api import UsageApi, UsageRead
from .window import Window

_COMPRESSION = 6


def take_read(
    client: UsageApi, journal: Journal, endpoint: UsageEndpoint, *, api_key_id: str, window: Window
) -> UsageRead:
    """Ask, keep the pages, journal the read. The journal is on disk when this returns.

    Raises `SubmeterError` where the pages cannot be kept.
    """
    read = client.read(endpoint, api_key_id=api_key_id, window_start=window.start_us, window_end=window.end_us)
    pages = PageStore(journal.path.parent / "reads").keep(read.pages)
    journal.append("usage_read", _line(read, pages))
    journal.sync()
    return read


class PageStore:
    """The folder of raw pages, looked through once by each store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] | None = None
        """Of the files that were there when the folder was looked through, and of those found since."""

    def keep(self, pages: Iterable[bytes]) -> list[str]:
        """Write each page unless it is there; their digests in order."""
        digests = []
        try:
            for body in pages:
                digest = hashlib.sha256(body).hexdigest()
                digests.append(digest)
                if self.body(digest) is None:
                    self._write(digest, body)
        except OSError as error:
            raise SubmeterError(
                f"A page of the Usage API cannot be kept in {self.folder}",
                f"{words(error)}; a read whose pages are not kept cannot be judged.",
                "Free some space or mend its permissions, then run submeter audit again.",
                exit_code=3,
            ) from error
        return digests

    def held(self, digests: Iterable[str]) -> bool:
        """Whether the file of each of these pages is there. What is in it was judged when the ledger took it in."""
        return all(self._has(page_name(digest)) for digest in digests)

    def body(self, digest: str) -> bytes | None:
        """One page as it came; None where it is missing or damaged."""
        try:
            return page_body(self.folder, digest)
        except PageUnusableError:
            return None

    def _has(self, name: str) -> bool:
        if self._names is None:
            try:
                with os.scandir(self.folder) as entries:
                    self._names = {entry.name for entry in entries}
            except OSError:  # no folder, or none that may be looked into: no page can be shown
                self._names = set()
        if name not in self._names and (self.folder / name).is_file():  # written since, by this audit or another
            self._names.add(name)
        return name in self._names

    def _write(self, digest: str, body: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / page_name(digest)
        part = self.folder / f".{digest}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(gzip.compress(body, _COMPRESSION, mtime=0))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        folder = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _line(read: UsageRead, pages: list[str]) -> dict[str, object]:
    return {
        "read_id": new_call_id(read.asked_at),
        "usage_endpoint": read.usage_endpoint,
        "api_key_ids": [read.api_key_id],
        "window_start": read.window_start,
        "window_end": read.window_end,
        "asked_at": read.asked_at,
        "answered_at": read.answered_at,
        "good": read.good,
        "problem": read.problem,
        "status_code": read.status_code,
        "message": read.message,
        "request_id": read.request_id,
        "pages": pages,
        "holes": read.holes,
    }
