"""Upstream URLs, client environments and outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from submeter.data.call import Outcome
from submeter.data.error import SubmeterError
from submeter.proxy.environment import base_url, client_environment
from submeter.proxy.listen import Listen
from submeter.proxy.outcome import Break, decide_outcome, without_quotes
from submeter.proxy.upstream_url import parse_upstream


@pytest.mark.parametrize(
    ("url", "authority", "joined"),
    [
        ("https://api.openai.com", "api.openai.com", "/v1/models?a=b"),
        ("https://api.openai.com/", "api.openai.com", "/v1/models?a=b"),
        ("https://api.openai.com/v1", "api.openai.com", "/v1/models?a=b"),
        ("http://h:81/openai/v1/", "h:81", "/openai/v1/models?a=b"),
        ("http://h:80/azure", "h", "/azure/v1/models?a=b"),
        ("http://[::1]:9/x", "[::1]:9", "/x/v1/models?a=b"),
    ],
)
def test_request_paths_go_under_the_upstream_s_path_and_one_version(url: str, authority: str, joined: str) -> None:
    upstream = parse_upstream(url)
    assert upstream.authority == authority
    assert upstream.join("/v1/models?a=b") == joined


def test_a_path_that_only_looks_like_the_version_is_kept() -> None:
    assert parse_upstream("https://h/v1").join("/v1beta/x") == "/v1/v1beta/x"


@pytest.mark.parametrize(
    "url", ["", "api.openai.com", "ftp://h", "https://", "https://h:x", "https://h/?q", "https://u:p@h"]
)
def test_an_upstream_that_is_no_plain_url_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(SubmeterError, match="cannot be used"):
        parse_upstream(url)


@pytest.mark.parametrize("url", ["https://me:hunter2@h", "https://h/?key=hunter2", "https://h/#hunter2"])
def test_what_may_be_a_secret_in_an_upstream_is_not_repeated(url: str) -> None:
    with pytest.raises(SubmeterError) as refused:
        parse_upstream(url)
    assert "hunter2" not in str(refused.value)


def test_a_base_url_carries_run_and_step_percent_encoded() -> None:
    assert base_url("http://127.0.0.1:8787") == "http://127.0.0.1:8787/v1"
    assert base_url("http://h:1", run_id="a/b c", step="4.7") == "http://h:1/run/a%2Fb%20c/step/4.7/v1"
    assert base_url("http://h:1", framework="baes", run_id="r") == "http://h:1/framework/baes/run/r/v1"
    assert base_url("http://h:1", step="1") == "http://h:1/step/1/v1"


def test_a_client_s_environment_points_every_known_variable_at_the_proxy() -> None:
    before = {"PATH": "/bin", "NO_PROXY": "intra.example", "OPENAI_BASE_URL": ""}
    environment = client_environment(before, "http://127.0.0.1:8787/v1", ["MY_URL"])
    assert {environment[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "BASE_URL", "MY_URL")} == {
        "http://127.0.0.1:8787/v1"
    }
    assert environment["PATH"] == "/bin"
    assert environment["NO_PROXY"] == "intra.example,127.0.0.1,localhost,::1"
    assert before == {"PATH": "/bin", "NO_PROXY": "intra.example", "OPENAI_BASE_URL": ""}


def test_node_trusts_the_proxy_s_authority_beside_what_it_was_told_to_trust(tmp_path: Path) -> None:
    ours, own = tmp_path / "mitmproxy-ca-cert.pem", tmp_path / "own.pem"
    pem = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    ours.write_text(pem.format("b3Vycw=="))
    own.write_text(pem.format("b3du"))
    assert client_environment({}, "http://h:1/v1", authority=tmp_path)["NODE_EXTRA_CA_CERTS"] == str(ours)
    before = {"NODE_EXTRA_CA_CERTS": str(own)}
    bundle = Path(client_environment(before, "http://h:1/v1", authority=tmp_path)["NODE_EXTRA_CA_CERTS"])
    assert ours.read_text().strip() in bundle.read_text()
    assert own.read_text().strip() in bundle.read_text()
    assert "NODE_EXTRA_CA_CERTS" not in client_environment({}, "http://h:1/v1")


@pytest.mark.parametrize(
    ("status", "broke", "usage", "inside", "unreadable", "outcome"),
    [
        (200, None, True, False, False, Outcome.METERED),
        (200, None, False, False, False, Outcome.NO_USAGE),
        (200, None, False, False, True, Outcome.UNREADABLE),
        (200, None, True, True, False, Outcome.FAILED),
        (200, Break.CLIENT_LEFT, True, False, False, Outcome.ABORTED),
        (200, Break.STOPPED, False, False, False, Outcome.ABORTED),
        (200, Break.UPSTREAM_BROKE, False, False, False, Outcome.FAILED),
        (None, Break.UPSTREAM_UNREACHABLE, False, False, False, Outcome.FAILED),
        (None, Break.REFUSED_BY_US, False, False, False, Outcome.REFUSED),
        (400, None, False, False, False, Outcome.REFUSED),
        (429, None, False, False, True, Outcome.REFUSED),
        (500, None, False, False, False, Outcome.FAILED),
        (503, None, False, False, True, Outcome.FAILED),
        (307, None, False, False, False, Outcome.NO_USAGE),
    ],
)
def test_an_outcome_says_what_happened_on_the_wire(
    status: int | None, broke: Break | None, usage: bool, inside: bool, unreadable: bool, outcome: Outcome
) -> None:
    assert (
        decide_outcome(status_code=status, broke=broke, has_usage=usage, failed_inside=inside, unreadable=unreadable)
        is outcome
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("protocol error: illegal chunk header: bytearray(b'a completion')", "protocol error: illegal chunk header"),
        ("Invalid header line: b'set cookie secret'", "Invalid header line"),
        ('invalid content-length header: b"sk-secret"', "invalid content-length header"),
        ("Received invalid content-length sk-secret", "Received invalid content-length"),
        ("[Errno 111] Connect call failed ('127.0.0.1', 9)", "[Errno 111] Connect call failed"),
        ("Client disconnected.", "Client disconnected."),
    ],
)
def test_the_engine_s_words_are_kept_up_to_where_they_quote_what_passed(said: str, kept: str) -> None:
    assert without_quotes(said) == kept


@pytest.mark.parametrize(
    ("listen", "upstream", "itself"),
    [
        (Listen(port=8787), "http://127.0.0.1:8787", True),
        (Listen(port=8787), "http://localhost:8787/v1", True),
        (Listen(host="0.0.0.0", port=8787, remote=True, token="t"), "http://127.0.0.2:8787", True),
        (Listen(host="10.0.0.5", port=8787, remote=True, token="t"), "http://10.0.0.5:8787", True),
        (Listen(port=8787, intercept_port=8788), "http://127.0.0.1:8788", True),
        (Listen(port=8787), "http://127.0.0.1:8080", False),
        (Listen(port=443), "https://api.openai.com", False),
        (Listen(port=0), "http://127.0.0.1:8787", False),
    ],
)
def test_a_proxy_is_not_its_own_upstream(listen: Listen, upstream: str, itself: bool) -> None:
    if not itself:
        listen.check_upstream(parse_upstream(upstream))
        return
    with pytest.raises(SubmeterError, match="is this proxy itself"):
        listen.check_upstream(parse_upstream(upstream))


def test_a_short_token_is_warned_of_where_others_can_use_it() -> None:
    said = Listen(host="0.0.0.0", remote=True, token="abcde").advice()
    assert said is not None
    assert "5 characters" in said
    assert "abcde" not in said
    assert Listen(host="0.0.0.0", remote=True, token="a" * 16).advice() is None
    assert Listen(token="abcde").advice() is None
