"""Our certificate authority at rest: its folder, who may read it, and the bundles of roots that trust it as well.

It lies in the user's data folder, the key readable by its owner alone, and is made once: two proxies that start
together use the same one. Only programs that are given a bundle trust it; no system store is ever touched. Never
here: how a certificate is made (the engine's own affair), and any other secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import certifi

BASENAME = "mitmproxy"
"""What the engine calls its files."""
SECRET_FILES = (f"{BASENAME}-ca.pem", f"{BASENAME}-ca.p12")
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.S)
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def authority_folder() -> Path:
    """The folder of the authority: the user's data folder, else a temporary one. Made where it is not there."""
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    folder = base / "submeter" / "ca"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="submeter-ca-"))


def prepare_authority(folder: Path, create: Callable[[], None]) -> None:
    """Have the authority made by `create` where there is none yet; keep folder and keys the owner's alone."""
    folder.chmod(0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not (folder / SECRET_FILES[0]).exists():
            create()
        for name in SECRET_FILES:
            with contextlib.suppress(FileNotFoundError):
                (folder / name).chmod(0o600)
    finally:
        os.close(descriptor)


def authority_certificate(folder: Path) -> Path:
    """The authority's certificate, in PEM: public."""
    return folder / f"{BASENAME}-ca-cert.pem"


def write_bundle(folder: Path, others: Iterable[str]) -> Path:
    """A PEM file of the authority, the roots in the files `others`, the system's and certifi's; named by its content.

    A file of `others` that cannot be read is left out, as it would be of no use to the program either.
    """
    default = ssl.get_default_verify_paths()
    paths = [*others, default.cafile, default.openssl_cafile, *_SYSTEM_ROOTS, certifi.where()]
    found: dict[bytes, None] = {}
    for path in (str(authority_certificate(folder)), *(path for path in paths if path)):
        with contextlib.suppress(OSError):
            found.update(dict.fromkeys(_CERTIFICATE.findall(Path(path).read_bytes())))
    content = b"\n".join(found) + b"\n"
    bundle = folder / f"roots-{hashlib.sha256(content).hexdigest()[:16]}.pem"
    if not bundle.exists():
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(name, bundle)
    return bundle
