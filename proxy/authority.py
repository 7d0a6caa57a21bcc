"""Our certificate authority at rest: its folder, who may read it, and the bundles of roots that trust it as well.

It lies in the user's data folder, the key readable by its owner alone, and is made once: two proxies that start
together use the same one. Only programs that are given a bundle trust it; no system store is ever touched. Never
here: what its certificate says (`certificates`), and any other secret.
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
"""What mitmproxy, on which an older submeter stood, calls its files; programs that trust them go on."""
SECRET_FILES = (f"{BASENAME}-ca.pem",)
_OLD_FILES = (f"{BASENAME}-ca.p12", f"{BASENAME}-ca-cert.p12", f"{BASENAME}-ca-cert.cer")
"""What mitmproxy wrote beside it for an older submeter: the same key, and a certificate for any host."""
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.S)
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def authority_place() -> Path:
    """Where the authority lies, if there is one: in the user's data folder."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "submeter" / "ca"


def authority_folder() -> Path:
    """The folder of the authority: the user's, else a temporary one. Made where it is not there."""
    folder = authority_place()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="submeter-ca-"))


def prepare_authority(folder: Path, fresh: Callable[[bytes | None], bytes | None]) -> bool:
    """Have the authority made, where `fresh` says so; keep folder and key the owner's alone. True: it is a new one.

    `fresh` is given key and certificate as they are, in PEM (None: there are none), and answers what they are to be,
    or None where they stay. Whoever holds a certificate that was replaced goes on with it: the key is the same.
    """
    folder.chmod(0o700)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        secret = folder / SECRET_FILES[0]
        made = fresh(secret.read_bytes() if secret.exists() else None)
        if made is not None:
            _replace(secret, made, mode=0o600)
            for name in _OLD_FILES:
                (folder / name).unlink(missing_ok=True)
        certificate = _CERTIFICATE.search(secret.read_bytes())
        public = b"" if certificate is None else certificate[0] + b"\n"
        if not authority_certificate(folder).exists() or authority_certificate(folder).read_bytes() != public:
            _replace(authority_certificate(folder), public, mode=0o644)
        secret.chmod(0o600)
    finally:
        os.close(descriptor)
    return made is not None


def authority_certificate(folder: Path) -> Path:
    """The authority's certificate, in PEM: public."""
    return folder / f"{BASENAME}-ca-cert.pem"


def authority_pem(folder: Path) -> bytes:
    """That certificate's bytes; none where there is no authority yet."""
    try:
        return authority_certificate(folder).read_bytes()
    except FileNotFoundError:
        return b""


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
        _replace(bundle, content, mode=0o600)
    return bundle


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).chmod(mode)
    os.replace(name, path)
