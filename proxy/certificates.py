"""Our certificate authority's certificate: for a year, for a few hosts, and made anew in time with the same key.

It may sign for the API's own host and those under it, for this machine, and for the upstream. A verifier refuses
whatever else its key signs, because the name constraints are critical (RFC 5280 section 4.2.1.10). Never here: files
(`authority`), the certificates of servers (`server_certificate`), and any other secret.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.system import exit_code_of, words
from .authority import SECRET_FILES, authority_pem, prepare_authority
from .forwarding import METERED_HOST

VALID_DAYS = 365
RENEWED_DAYS_BEFORE = 30
"""How long before its end it is made anew, so that a program started on its last day has a month."""
BACKDATED_DAYS = 1
"""Clocks of a machine and its containers differ."""
KEY_BITS = 2048
OUR_HOSTS = (METERED_HOST, "localhost", "127.0.0.1", "::1")
"""What every authority of ours may sign for; a name stands for the names under it too."""
_WILDCARDS = ("0.0.0.0", "::")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What an authority's certificate says of itself."""

    begins_at: datetime
    ends_at: datetime
    names: tuple[str, ...] | None
    """Hosts it may sign for, sorted; None: any at all, as an older submeter's."""

    def would_do(self, hosts: AbstractSet[str], now: datetime) -> bool:
        """Whether it is good now and may sign for these hosts, and not for any at all."""
        return self.names is not None and hosts <= set(self.names) and self.begins_at <= now < self.ends_at


def keep_authority(folder: Path, hosts: Iterable[str], now_us: int) -> str | None:
    """Have an authority in this folder that may sign for these hosts; what to tell the user where one was replaced.

    Who has the old certificate goes on with it until its end, as the key is the same. Raises `SubmeterError` where the
    system refuses and there is none that would do.
    """
    now = utc(now_us).replace(microsecond=0)
    hosts = tuple(hosts)
    try:
        before = read_authority(authority_pem(folder))
        if not prepare_authority(folder, fresh_authority(hosts, now)) or before is None:
            return None
    except OSError as error:
        held = _held(folder)
        if held is not None and held.would_do(_wanted(hosts), now):
            return f"The certificate authority in {folder} stays as it is: the system says {words(error)}."
        raise SubmeterError(
            f"The certificate authority cannot be kept in {folder}",
            f"The system says: {words(error)}.",
            "Mend that folder, or name another with XDG_DATA_HOME; see: submeter doctor",
            exit_code=exit_code_of(error),
        ) from error
    after = read_authority(authority_pem(folder))
    until = before.ends_at if after is None else min(before.ends_at, after.ends_at)
    return (
        f"The certificate authority in {folder} was made anew, with its key; a program that is running trusts the one "
        f"before, which ends on {until:%Y-%m-%d}: start it again by then."
    )


def fresh_authority(hosts: Iterable[str], now: datetime) -> Callable[[bytes | None], bytes | None]:
    """What `prepare_authority` asks: key and certificate in PEM; None where those that are there serve as they are.

    They serve if the certificate may sign for all of these hosts, for them alone or for other upstreams too, and has
    more than 30 days left. One that is made anew while it is good keeps the names it had: another proxy uses them.
    """
    wanted = _wanted(hosts)

    def fresh(before: bytes | None) -> bytes | None:
        held = read_authority(before) if before is not None else None
        names = wanted
        if before is not None and held is not None and held.names is not None:
            in_time = held.begins_at <= now < held.ends_at - timedelta(days=RENEWED_DAYS_BEFORE)
            if in_time and wanted <= set(held.names):
                return None
            names = wanted | set(held.names) if in_time else wanted
        key = _key(before)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ) + _certificate(key, sorted(names), now).public_bytes(serialization.Encoding.PEM)

    return fresh


def _wanted(hosts: Iterable[str]) -> set[str]:
    """What an authority is to sign for."""
    return {name for host in (*OUR_HOSTS, *hosts) if (name := _name(host)) is not None}


def read_authority(pem: bytes) -> Authority | None:
    """What the first certificate of a PEM file says; None where there is none that can be read."""
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError):
        return None
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        names = None
    else:
        names = tuple(sorted(_host(permitted) for permitted in constraints.value.permitted_subtrees or ()))
    return Authority(begins_at=certificate.not_valid_before_utc, ends_at=certificate.not_valid_after_utc, names=names)


def _held(folder: Path) -> Authority | None:
    """The authority in a folder; None: there is none that can be read."""
    try:
        return read_authority((folder / SECRET_FILES[0]).read_bytes())
    except OSError:
        return None


def _key(before: bytes | None) -> rsa.RSAPrivateKey:
    """The key that was used so far, else a new one."""
    if before is not None:
        try:
            held = serialization.load_pem_private_key(before, None)
        except (ValueError, TypeError):
            held = None
        if isinstance(held, rsa.RSAPrivateKey):
            return held
    return rsa.generate_private_key(65_537, KEY_BITS)


def _certificate(key: rsa.RSAPrivateKey, names: Iterable[str], now: datetime) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "submeter"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "submeter"),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    permitted = [_general_name(name) for name in names]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=BACKDATED_DAYS))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _name(host: str) -> str | None:
    """A host as a certificate writes it; None for what is no host that a client could ask for."""
    if host in _WILDCARDS:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return host.lower().removesuffix(".").encode("idna").decode()
    except UnicodeError:
        return None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _host(permitted: x509.GeneralName) -> str:
    value = permitted.value
    return str(value.network_address) if isinstance(value, Network) else str(value)
