"""What a connection's requests are for: by the base URL, and by the intercept port. Rules, without sockets."""

from __future__ import annotations

import base64

import pytest

from submeter.proxy.admission import Direct, Through
from submeter.proxy.forwarding import Target
from submeter.proxy.message_head import parse_request_head
from submeter.proxy.upstream_url import parse_upstream

API = parse_upstream("https://api.openai.com")
LABELS = b"Basic " + base64.b64encode(b"submeter:/run/r-1/step/2")
GIVEN = ((b"Proxy-Authorization", LABELS),)


@pytest.mark.parametrize("target", [b"/run/r-1/v1/models", b"http://evil.example/run/r-1/v1/models"])
def test_a_request_by_the_base_url_has_its_labels_in_its_path_and_loses_its_authority(target: bytes) -> None:
    path = Direct().path_of(target, lambda: ())
    assert (path.path, path.run_id) == ("/v1/models", "r-1") if path else False


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://api.openai.com/v1/models", None),
        (b"http://API.openai.com:80/v1/models", None),
        (b"http://eu.api.openai.com/v1/models", "eu.api.openai.com"),
    ],
)
def test_a_whole_url_of_the_api_goes_where_it_says(target: bytes, host: str | None) -> None:
    path = Through(upstream=API, token="t").path_of(target, lambda: GIVEN)
    assert path is not None
    assert (path.path, path.run_id, path.step, path.token) == ("/v1/models", "r-1", "2", "t")
    assert (path.upstream and path.upstream.host) == host


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/models",
        b"*",
        b"api.openai.com:443",
        b"http://example.org/v1/models",
        b"http://api.openai.com:8080/",
        b"http://api.openai.com@evil.example/",
        b"http://evil.example#api.openai.com/",
        b"http://api.openai.com.evil.example/",
        b"http://api.openai.com:99999/",
        b"http://\xff.example/",
    ],
)
def test_any_other_place_is_refused(target: bytes) -> None:
    assert Through(upstream=API, token=None).path_of(target, lambda: ()) is None


def test_in_a_tunnel_the_tunnel_s_host_counts_and_its_labels_do() -> None:
    tunnel = Target(host="eu.api.openai.com", port=443)
    through = Through(upstream=API, token=None, tunnel=tunnel, labels=None)
    path = through.path_of(b"http://example.org/_submeter/run", lambda: GIVEN)
    assert path is not None
    assert (path.path, path.run_id, path.upstream and path.upstream.host) == (
        "/_submeter/run",
        "r-1",
        "eu.api.openai.com",
    )
    assert not through.controls


def test_what_was_said_to_us_as_a_proxy_goes_no_further() -> None:
    head = parse_request_head(
        b"GET / HTTP/1.1\r\nHost: h\r\nproxy-AUTHORIZATION: Basic x\r\nX: 1\r\nProxy-Connection: keep-alive\r\n\r\n"
    )
    sent = Through(upstream=API, token=None).head_of(head)
    assert sent.raw == b"GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n"
    assert [name for name, _ in sent.fields] == [b"Host", b"X"]
    assert set(sent.said) == {b"host", b"x"}
