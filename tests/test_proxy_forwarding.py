"""What may pass the intercept port, and what its clients are told: rules over hosts, ports, headers and variables."""

from __future__ import annotations

import base64
from pathlib import Path

import certifi
import pytest

from submeter.proxy.authority import SECRET_FILES, authority_certificate, prepare_authority, write_bundle
from submeter.proxy.environment import intercept_environment
from submeter.proxy.forwarding import (
    Target,
    connect_target,
    is_api_host,
    is_metered,
    is_unmetered_api_host,
    labels_of,
    may_tunnel,
    path_at_upstream,
    regional,
)
from submeter.proxy.upstream_url import parse_upstream

OURS = b"-----BEGIN CERTIFICATE-----\nb3Vycw==\n-----END CERTIFICATE-----"
THEIRS = b"-----BEGIN CERTIFICATE-----\ndGhlaXJz\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("head", "target"),
    [
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", ("example.org", 443)),
        (b"CONNECT [::1]:8443 HTTP/1.0\r\n\r\n", ("::1", 8443)),
        (b"GET http://example.org/ HTTP/1.1\r\n\r\n", None),
        (b"CONNECT example.org HTTP/1.1\r\n\r\n", None),
        (b"CONNECT :443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT example.org:0 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT example.org:65536 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT example.org:443\r\n\r\n", None),
        (b"CONNECT ex\xffample.org:443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT example.org\x00.evil:443 HTTP/1.1\r\n\r\n", None),
        (b"connect example.org:443 HTTP/1.1\r\n\r\n", None),
    ],
)
def test_a_connect_says_where_it_goes_or_is_none(head: bytes, target: tuple[str, int] | None) -> None:
    found = connect_target(head)
    assert (found and (found.host, found.port)) == target


@pytest.mark.parametrize(
    ("host", "port", "metered"),
    [
        ("api.openai.com", 443, True),
        ("API.OpenAI.com.", 443, True),
        ("api.openai.com", 80, True),
        ("api.openai.com", 8443, False),
        ("eu.api.openai.com", 443, True),
        ("EU.api.openai.com.", 443, True),
        ("eu.api.openai.com", 8443, False),
        ("mtls.api.openai.com", 443, False),
        ("mtls-eu.api.openai.com", 443, False),
        ("a.eu.api.openai.com", 443, False),
        ("evil-api.openai.com", 443, False),
        ("chat.openai.com", 443, False),
        ("api.openai.com.evil.example", 443, False),
        ("gateway.example", 9443, True),
        ("gateway.example", 443, False),
    ],
)
def test_only_the_api_its_regions_and_the_configured_upstream_are_metered(host: str, port: int, metered: bool) -> None:
    assert is_metered(Target(host=host, port=port), parse_upstream("https://gateway.example:9443/openai/v1")) is metered


@pytest.mark.parametrize(
    ("host", "upstream", "goes_to"),
    [
        ("eu.api.openai.com", "https://api.openai.com", "https://eu.api.openai.com"),
        ("US.API.openai.com.", "https://api.openai.com/v1", "https://us.api.openai.com/v1"),
        ("us.api.openai.com", "https://eu.api.openai.com", "https://us.api.openai.com"),
        ("eu.api.openai.com", "https://eu.api.openai.com", None),
        ("api.openai.com", "https://eu.api.openai.com", None),
        ("api.openai.com", "https://api.openai.com", None),
        ("eu.api.openai.com", "http://127.0.0.1:8080", None),
        ("eu.api.openai.com", "https://gateway.example/openai", None),
        ("gateway.example", "https://gateway.example", None),
    ],
)
def test_a_call_to_a_region_goes_to_it_unless_something_else_stands_for_the_api(
    host: str, upstream: str, goes_to: str | None
) -> None:
    found = regional(host, parse_upstream(upstream))
    assert (found and found.url) == goes_to


@pytest.mark.parametrize("region", ["us", "eu", "ae", "au", "in", "jp"])
def test_the_regions_of_the_openai_sdk_are_known(region: str) -> None:
    assert is_api_host(f"{region}.api.openai.com")
    assert not is_unmetered_api_host(f"{region}.api.openai.com")


def test_a_host_that_wants_the_client_s_own_certificate_is_known_to_go_past() -> None:
    assert is_unmetered_api_host("mtls.api.openai.com")
    assert not is_unmetered_api_host("api.openai.com")
    assert not is_unmetered_api_host("mtls.auth.openai.com")


@pytest.mark.parametrize(
    ("port", "may"), [(443, True), (80, True), (25, False), (22, False), (1023, False), (1024, True), (11434, True)]
)
def test_tunnels_go_to_the_ports_of_the_web_and_to_no_service_of_the_system(port: int, may: bool) -> None:
    assert may_tunnel(Target(host="example.org", port=port)) is may


@pytest.mark.parametrize(
    ("header", "run_id", "step"),
    [
        ("Basic " + base64.b64encode(b"submeter:/run/r%201/step/4.7").decode(), "r 1", "4.7"),
        ("basic " + base64.b64encode(b"submeter:/run/r-1").decode(), "r-1", None),
        ("Basic " + base64.b64encode(b"submeter:/").decode(), None, None),
        ("Basic " + base64.b64encode(b"somebody:/run/r-1").decode(), None, None),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), None, None),
        ("Basic !!!", None, None),
        ("Bearer /run/r-1", None, None),
        (None, None, None),
    ],
)
def test_the_label_is_the_proxy_s_password(header: str | None, run_id: str | None, step: str | None) -> None:
    labels = labels_of(header)
    assert (labels.run_id, labels.step) == (run_id, step)


def test_the_proxy_s_password_may_name_the_framework_too() -> None:
    labels = labels_of("Basic " + base64.b64encode(b"submeter:/framework/ghspec/run/r-1").decode())
    assert (labels.framework, labels.run_id) == ("ghspec", "r-1")


def test_a_client_that_does_not_decode_the_password_says_the_same_label() -> None:
    for password in ("/run/a%2Fb/step/4.7", "%2Frun%2Fa%252Fb%2Fstep%2F4.7"):
        labels = labels_of("Basic " + base64.b64encode(f"submeter:{password}".encode()).decode())
        assert (labels.run_id, labels.step) == ("a/b", "4.7")


@pytest.mark.parametrize(
    ("upstream", "host", "path"),
    [
        ("https://gateway.example/openai/v1", "api.openai.com", "/v1/chat/completions"),
        ("https://gateway.example/openai/v1", "gateway.example", "/openai/v1/chat/completions"),
        ("https://gateway.example/openai", "gateway.example", "/openai/v1/chat/completions"),
        ("https://gateway.example/openai", "api.openai.com", "/v1/chat/completions"),
    ],
)
def test_a_path_goes_where_the_client_meant_it(upstream: str, host: str, path: str) -> None:
    address = parse_upstream(upstream)
    asked = path_at_upstream(path, Target(host=host, port=443), address)
    assert asked == "/v1/chat/completions"
    assert address.join(asked) == "/openai/v1/chat/completions"


def authority(folder: Path) -> Path:
    assert prepare_authority(folder, lambda before: b"secret\n" + OURS if before is None else None)
    return folder


def test_the_authority_is_made_once_and_its_key_is_the_owner_s_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    authority(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    secret = tmp_path / SECRET_FILES[0]
    assert secret.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in authority_certificate(tmp_path).read_bytes()
    secret.chmod(0o644)
    assert not prepare_authority(tmp_path, lambda before: None)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_bytes() == b"secret\n" + OURS


def test_a_bundle_has_our_root_the_program_s_own_and_the_public_ones_each_once(tmp_path: Path) -> None:
    (tmp_path / "theirs.pem").write_bytes(b"# a comment\n" + THEIRS + b"\n" + THEIRS)
    folder = tmp_path / "ca"
    folder.mkdir()
    authority(folder)
    bundle = write_bundle(folder, [str(tmp_path / "theirs.pem"), str(tmp_path / "missing.pem")])
    content = bundle.read_bytes()
    assert (content.count(OURS), content.count(THEIRS)) == (1, 1)
    assert content.count(b"BEGIN CERTIFICATE") >= Path(certifi.where()).read_bytes().count(b"BEGIN CERTIFICATE")
    assert b"secret" not in content
    assert write_bundle(folder, [str(tmp_path / "theirs.pem")]) == bundle


def test_a_program_s_https_goes_through_the_intercept_and_its_plain_http_does_not(tmp_path: Path) -> None:
    authority(tmp_path)
    before = {
        "NO_PROXY": "corp.example, .openai.com,*,api.openai.com:443",
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
    }
    made, notes = intercept_environment(before, "http://127.0.0.1:8788", run_id="r 1", step="4.7", authority=tmp_path)
    assert made["HTTPS_PROXY"] == made["https_proxy"] == "http://submeter:%2Frun%2Fr%25201%2Fstep%2F4.7@127.0.0.1:8788"
    assert made["HTTP_PROXY"] == before["HTTP_PROXY"]
    assert made["NO_PROXY"] == "corp.example,127.0.0.1,localhost,::1"
    assert made["SSL_CERT_FILE"] == made["REQUESTS_CA_BUNDLE"] == made["CURL_CA_BUNDLE"]
    assert made["NODE_EXTRA_CA_CERTS"] == str(authority_certificate(tmp_path))
    assert made["NODE_USE_ENV_PROXY"] == "1"
    assert len(notes) == 2
