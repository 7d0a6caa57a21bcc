"""The certificate that our listener shows a client that speaks TLS to it, signed by our authority. Kept in memory.

It is for this machine's names, the API's and the upstream's: for whatever the authority may sign for. Never here: the
authority's own certificate (`certificates`), and sockets.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from .authority import SECRET_FILES
from .forwarding import same_host

logger = logging.getLogger("submeter.proxy")

VALID_DAYS = 7
RENEWED_HOURS = 12


class ServerCertificate:
    """The listener's side of TLS."""

    def __init__(self, folder: Path, hosts: Iterable[str]) -> None:
        """`folder`: of the authority; `hosts`: what it is for, each of which the authority may sign for."""
        self._folder = folder
        self._hosts = tuple(dict.fromkeys(hosts))
        self._context: ssl.SSLContext | None = None
        self._made_at = datetime.min.replace(tzinfo=UTC)

    def context(self) -> ssl.SSLContext:
        """What a handshake is done with; made when first asked for, and anew in half a day."""
        now = datetime.now(UTC)
        if self._context is None or now - self._made_at > timedelta(hours=RENEWED_HOURS):
            self._context, self._made_at = _context(_chain(self._folder, self._hosts, now)), now
            self._context.sni_callback = self._check_name
        return self._context

    def _check_name(self, _connection: object, name: str | None, _context: object) -> int | None:
        """A client that asks for another name than ours gets no certificate."""
        if name is None or any(same_host(name, host) for host in self._hosts):
            return None
        logger.warning("a TLS client asked for a host that is not the one it is connected to, and was refused")
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def _context(chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL takes a chain from a file alone; this one is its owner's, and gone at once.
    descriptor, name = tempfile.mkstemp(prefix="submeter-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(chain)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
    return context


def _chain(folder: Path, hosts: Iterable[str], now: datetime) -> bytes:
    """A key, its certificate for these hosts, and the authority's, in PEM."""
    pem = (folder / SECRET_FILES[0]).read_bytes()
    authority = x509.load_pem_x509_certificate(pem)
    signing = serialization.load_pem_private_key(pem, None)
    assert isinstance(signing, rsa.RSAPrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - timedelta(days=1), authority.not_valid_before_utc))
        .not_valid_after(min(now + timedelta(days=VALID_DAYS), authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # Without a subject the names are all there is (RFC 5280 section 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    return b"".join(
        (
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            certificate.public_bytes(serialization.Encoding.PEM),
            authority.public_bytes(serialization.Encoding.PEM),
        )
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.lower().removesuffix(".").encode("idna").decode())
