"""The upstream through the proxy that the environment names: which proxy, by CONNECT, and what its errors become."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from lane_play import lane_to, play
from test_proxy_lane import METERED, POST, WHOLE, answering, told
from tls import certified

from submeter.data.error import SubmeterError
from submeter.proxy.outer_proxy import OuterProxy, outer_proxy
from submeter.proxy.upstream_url import parse_upstream

API = "https://api.openai.com"
HOST = "upstream.example"
SECRET = "pass:word-SECRET"


@pytest.mark.parametrize(
    ("environment", "upstream", "found"),
    [
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, API, ("proxy.example", 3128)),
        ({"HTTPS_PROXY": "proxy.example:3128"}, API, ("proxy.example", 3128)),
        ({"https_proxy": "http://small.example", "HTTPS_PROXY": "http://big.example"}, API, ("small.example", 80)),
        ({"https_proxy": "", "HTTPS_PROXY": "http://[::1]:8"}, API, ("::1", 8)),
        ({"HTTP_PROXY": "http://proxy.example"}, API, None),
        ({"HTTPS_PROXY": "http://proxy.example"}, "http://gateway.example", None),
        ({"HTTPS_PROXY": "http://proxy.example"}, "https://localhost:8443", None),
        ({"HTTPS_PROXY": "http://proxy.example"}, "https://127.0.0.9", None),
        ({"HTTPS_PROXY": "http://proxy.example"}, "https://[::1]", None),
        ({"HTTPS_PROXY": "socks5://proxy.example"}, "https://127.0.0.1", None),
        ({"HTTPS_PROXY": "http://proxy.example", "NO_PROXY": "a.example, .openai.com"}, API, None),
        ({"HTTPS_PROXY": "http://proxy.example", "no_proxy": "*"}, API, None),
        ({"HTTPS_PROXY": "http://proxy.example", "NO_PROXY": "penai.com"}, API, ("proxy.example", 80)),
        ({}, API, None),
    ],
)
def test_an_https_upstream_beyond_this_machine_is_asked_through_the_proxy_of_the_environment(
    environment: Mapping[str, str], upstream: str, found: tuple[str, int] | None
) -> None:
    outer = outer_proxy(environment, parse_upstream(upstream))
    assert (outer and (outer.host, outer.port)) == found


def test_a_region_that_no_proxy_names_is_asked_directly() -> None:
    outer = outer_proxy({"HTTPS_PROXY": "http://p", "NO_PROXY": "eu.api.openai.com"}, parse_upstream(API))
    assert outer is not None
    assert not outer.serves(parse_upstream("https://eu.api.openai.com"))
    assert outer.serves(parse_upstream("https://us.api.openai.com"))


@pytest.mark.parametrize(
    "url", ["socks5://u:SECRET@h:1", "https://u:SECRET@h", "http://u:SECRET@", "http://u:SECRET@h:x"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_that_repeats_nothing_of_its_url(url: str) -> None:
    with pytest.raises(SubmeterError) as raised:
        outer_proxy({"HTTPS_PROXY": url}, parse_upstream(API))
    assert "HTTPS_PROXY" in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_user_and_password_go_to_the_proxy_and_into_no_text() -> None:
    outer = outer_proxy({"HTTPS_PROXY": "http://me:pass%3Aword-SECRET@p:1"}, parse_upstream(API))
    assert outer is not None
    head = outer.connect_head(parse_upstream(API))
    pair = base64.b64encode(f"me:{SECRET}".encode())
    assert head == (
        b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n"
        b"Proxy-Authorization: Basic " + pair + b"\r\n\r\n"
    )
    assert pair.decode() not in repr(outer)
    assert "SECRET" not in repr(outer)


@pytest.mark.parametrize(
    ("proxy", "says"), [("127.0.0.1:8788", True), ("localhost:8788", True), ("[::1]:8788", True), ("p.example", False)]
)
def test_a_proxy_on_this_machine_is_told_that_the_calls_are_metered_and_no_other_is(proxy: str, says: bool) -> None:
    outer = outer_proxy({"HTTPS_PROXY": proxy}, parse_upstream(API))
    assert outer is not None
    assert (b"\r\nX-Submeter-Metered: 1\r\n" in outer.connect_head(parse_upstream(API))) is says


class Outer:
    """A proxy on loopback that opens tunnels to the ports of this machine, whatever host it is asked for."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[OuterProxy]:
        served = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = served.sockets[0].getsockname()[1]
        url = f"http://me:{SECRET}@127.0.0.1:{self.port}"
        outer = outer_proxy({"HTTPS_PROXY": url}, parse_upstream(API))
        assert outer is not None
        try:
            yield outer
        finally:
            served.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(self.answer)
            if not self.answer.startswith(b"HTTP/1.1 200"):
                return
            port = int(head.split(b" ")[1].rpartition(b":")[2])
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(far_writer):
                await asyncio.wait(
                    [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
                )


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def test_calls_reach_the_upstream_through_its_tunnel_under_tls_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, root = certified(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    through = Outer(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")

    async def scene() -> None:
        async with (
            through.serving() as outer,
            lane_to(tmp_path, answering(WHOLE, WHOLE), tls=served, outer=outer, host=HOST) as lane,
        ):
            client = await lane.connect()
            for _ in range(2):
                client.say(POST)
                assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert told(lane) == [METERED] * 2
            # One tunnel, kept as any upstream connection is.
            [head] = through.heads
            assert head.startswith(f"CONNECT {HOST}:".encode())
            assert b"Proxy-Authorization: Basic " in head
            client.writer.close()
            await lane.until(lambda: not lane.server._open)

    play(scene())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "wants a user and a password (407)",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\nlong words", "refused to connect to the upstream (503)"),
        (b"HTTP/1.1 200 OK\r\n\r\nspeaks unasked", "does not answer as one"),
        (b"nonsense\r\n\r\n", "does not answer as one"),
        (b"", "ended the connection before it had answered"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_a_502_in_words_and_a_call_that_was_never_sent(
    tmp_path: Path, answer: bytes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    served, _ = certified(tmp_path / "tls")
    through = Outer(answer)

    async def scene() -> None:
        async with (
            through.serving() as outer,
            lane_to(tmp_path, answering(), tls=served, outer=outer, host=HOST) as lane,
        ):
            client = await lane.connect()
            client.say(POST)
            head, _, body = (await client.hear_all()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502 ")
            assert says in json.loads(body)["error"]["message"]
            [line] = lane.lines()
            assert (line["outcome"], line["flags"]) == ("failed", ["never_sent"])
            assert says in line["error"]
            assert lane.connections == []
            assert SECRET.encode() not in lane.journal.read_bytes()

    with caplog.at_level(logging.DEBUG):
        play(scene())
    assert SECRET not in caplog.text


def test_a_proxy_that_is_not_there_is_a_502_that_says_so(tmp_path: Path) -> None:
    served, _ = certified(tmp_path / "tls")
    through = Outer(b"")

    async def scene() -> None:
        async with through.serving() as outer:
            pass
        async with lane_to(tmp_path, answering(), tls=served, outer=outer, host=HOST) as lane:
            client = await lane.connect()
            client.say(POST)
            assert b"the proxy in HTTPS_PROXY cannot be reached" in await client.hear_all()
            assert lane.lines()[0]["flags"] == ["never_sent"]

    play(scene())
