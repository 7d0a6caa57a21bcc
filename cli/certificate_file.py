"""The file that a certificate is written to: complete or not there, and for its owner's eyes until it is published.

Here nothing is derived; what a certificate holds is decided in the audit.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.error import SubmeterError
from ..data.paths import reads_folder
from ..data.system import read_file, words
from .invocation import CANNOT_TELL, FINE, Invocation

if TYPE_CHECKING:
    from ..audit.choice import AuditRequest
    from ..audit.settings import AuditSettings
    from ..data.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCertificate:
    """A certificate that was written."""

    file: Path
    sha256: str


def refuse_early(path: Path, request: AuditRequest) -> None:
    """Raise what can be known before the Usage API is asked: no single run, or a place that no file can be put."""
    if len(request.runs) != 1 or request.pending or request.of_period:
        raise SubmeterError(
            "A certificate is of one run.",
            "--certificate goes with exactly one RUN, and neither with --pending nor with --from and --to.",
            f"Name the run: submeter audit chatdev/r-1 --wait --certificate {path}",
        )
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SubmeterError(
            f"No certificate can be written to {path}",
            "It is a folder." if path.is_dir() else f"{path.parent} is not a folder that can be written to.",
            "Name a file in a folder that there is, such as: --certificate r-1.certificate.json",
        )
    if path.exists() and not _is_certificate(path):
        raise SubmeterError(
            f"No certificate is written to {path}",
            "What is there is none, so it is left alone.",
            "Name another file, such as: --certificate r-1.certificate.json",
        )


def _is_certificate(path: Path) -> bool:
    """Whether a file holds nothing, or a certificate of whatever version, which a newer one may replace."""
    try:
        data = read_file(path)
    except OSError:
        return False
    return not data or b'"submeter certificate ' in data


def write_certificate(
    path: Path, invocation: Invocation, ledger: Ledger, request: AuditRequest, settings: AuditSettings, exit_code: int
) -> WrittenCertificate:
    """Write the certificate of the run just audited.

    Raises `SubmeterError` where its verdict gets none; with the audit's `exit_code`, unless that said all was fine.
    """
    from ..audit.certificate import make_certificate
    from ..audit.reads import PageStore

    if request.settle_min is not None:
        settings = replace(settings, settle_min=request.settle_min)
    (run,) = request.runs
    try:
        data = make_certificate(
            ledger,
            run=run,
            request=request,
            settings=settings,
            clock=invocation.clock,
            store=PageStore(reads_folder(invocation.ledger)),
        )
        _put(path, data)
    except SubmeterError as error:
        ends = exit_code if exit_code != FINE else CANNOT_TELL
        raise SubmeterError(error.what, error.why, error.next_step, exit_code=ends) from error
    return WrittenCertificate(file=path, sha256=hashlib.sha256(data).hexdigest())


def _put(path: Path, data: bytes) -> None:
    """Put a whole file in the old one's place in one step, 0600."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SubmeterError(
            f"The certificate could not be written to {path}",
            f"The system says: {words(error)}. The verdict itself is in the ledger.",
            "Make room or name another file, then run the same command again: it reads nothing twice.",
        ) from error
