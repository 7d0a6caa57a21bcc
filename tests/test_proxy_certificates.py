"""The authority's certificate: whom it may sign for, how long, and what becomes of the one before."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from submeter.data.clock import US_PER_S
from submeter.data.error import SubmeterError
from submeter.proxy.authority import SECRET_FILES, authority_certificate, authority_pem, prepare_authority
from submeter.proxy.certificates import OUR_HOSTS, fresh_authority, keep_authority, read_authority

NOW = datetime.now(UTC).replace(microsecond=0)
GATEWAY = "gateway.example"


@pytest.fixture(scope="module")
def made() -> bytes:
    """Key and certificate of an authority for a gateway; once, as a key takes a while to make."""
    pem = fresh_authority([GATEWAY, "0.0.0.0"], NOW)(None)
    assert pem is not None
    return pem


def certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def key_of(pem: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def is_believed(pem: bytes, folder: Path, host: str) -> bool:
    """Whether a client that trusts the authority believes a certificate of its for this host."""
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    key, [authority] = key_of(pem), certificates(pem)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    served, root = folder / "served.pem", folder / "root.pem"
    served.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.public_bytes(serialization.Encoding.PEM)
    )
    root.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=root)
    serving.load_cert_chain(served)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=host)
    server = serving.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError:
            return False
    return True


@pytest.mark.parametrize(
    ("host", "believed"),
    [
        ("api.openai.com", True),
        ("eu.api.openai.com", True),
        (GATEWAY, True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("openai.com", False),
        ("chat.openai.com", False),
        ("api.openai.com.evil.example", False),
        ("10.0.0.1", False),
        ("bank.example", False),
    ],
)
def test_it_is_believed_for_the_api_this_machine_and_the_upstream_alone(
    made: bytes, tmp_path: Path, host: str, believed: bool
) -> None:
    assert is_believed(made, tmp_path, host) is believed


def test_its_constraints_are_critical_and_it_lasts_a_year(made: bytes) -> None:
    [certificate] = certificates(made)
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.path_length) == (True, 0)
    said = read_authority(made)
    assert said is not None
    assert said.ends_at == NOW + timedelta(days=365)
    assert said.names == tuple(sorted([*OUR_HOSTS, GATEWAY]))


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (334, False), (335, True), (400, True), (-2, True)])
def test_it_is_made_anew_thirty_days_before_its_end_with_the_same_key(made: bytes, days: int, renewed: bool) -> None:
    later = NOW + timedelta(days=days)
    after = fresh_authority([GATEWAY], later)(made)
    assert (after is not None) is renewed
    if after is not None:
        assert key_of(after).private_numbers() == key_of(made).private_numbers()
        said = read_authority(after)
        assert said is not None
        assert said.ends_at == later + timedelta(days=365)


def test_another_upstream_is_added_and_leaves_with_the_next_year(made: bytes) -> None:
    both = fresh_authority(["other.example"], NOW)(made)
    assert both is not None
    said = read_authority(both)
    assert said is not None
    assert {GATEWAY, "other.example"} <= set(said.names or ())
    assert fresh_authority([GATEWAY], NOW)(both) is None
    next_year = fresh_authority(["other.example"], NOW + timedelta(days=340))(both)
    assert next_year is not None
    assert GATEWAY not in (read_authority(next_year) or said).names  # type: ignore[operator]


def test_one_that_may_sign_for_anything_is_replaced_and_its_copies_are_taken_away(made: bytes, tmp_path: Path) -> None:
    key, [bounded] = key_of(made), certificates(made)
    unbounded = (
        x509.CertificateBuilder()
        .subject_name(bounded.subject)
        .issuer_name(bounded.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(NOW + timedelta(days=3650))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (tmp_path / SECRET_FILES[0]).write_bytes(made[: made.index(b"-----BEGIN CERT")] + unbounded)
    authority_certificate(tmp_path).write_bytes(unbounded)
    (tmp_path / "mitmproxy-ca.p12").write_bytes(b"the same key")
    told = keep_authority(tmp_path, [GATEWAY], int(NOW.timestamp()) * US_PER_S)
    assert told is not None
    assert f"{NOW + timedelta(days=365):%Y-%m-%d}" in told
    said = read_authority(authority_pem(tmp_path))
    assert said is not None
    assert said.names is not None
    assert not (tmp_path / "mitmproxy-ca.p12").exists()
    assert keep_authority(tmp_path, [GATEWAY], int(NOW.timestamp()) * US_PER_S) is None


def test_a_first_authority_is_nothing_to_be_told_of(made: bytes, tmp_path: Path) -> None:
    assert prepare_authority(tmp_path, lambda before: made if before is None else None)
    assert keep_authority(tmp_path, [GATEWAY], int(NOW.timestamp()) * US_PER_S) is None
    assert b"PRIVATE KEY" not in authority_pem(tmp_path)


@pytest.mark.parametrize(("days", "does"), [(0, True), (364, True), (366, False)])
def test_where_the_system_refuses_one_that_is_still_good_stays_and_no_other(
    made: bytes, tmp_path: Path, days: int, does: bool
) -> None:
    prepare_authority(tmp_path, lambda _: made)
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").mkdir()
    now_us = int((NOW + timedelta(days=days)).timestamp()) * US_PER_S
    if does:
        assert "stays as it is: the system says Is a directory" in str(keep_authority(tmp_path, [GATEWAY], now_us))
        with pytest.raises(SubmeterError, match="authority cannot be kept"):
            keep_authority(tmp_path, ["another.example"], now_us)
        (tmp_path / SECRET_FILES[0]).unlink()
    with pytest.raises(SubmeterError, match="authority cannot be kept"):
        keep_authority(tmp_path, [GATEWAY], now_us)


def test_what_is_no_certificate_is_none() -> None:
    assert read_authority(b"") is None
    assert read_authority(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") is None
