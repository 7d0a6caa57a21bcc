"""The simulator as a server: many at once, compressed, over TLS, started by itself, stopped without a trace."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import brotli
import pytest

from submeter.sim import Counts, Key, Sim
from submeter.sim.books import State
from submeter.sim.client import Client

NOON = 1_795_348_800.0
HANG_S = 120.0
"""After so long it hangs; a machine with other work is only slow."""
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


def test_fifty_clients_at_once_are_all_in_the_books() -> None:
    keys = [Key(secret="sk-a", api_key_id="key_a"), Key(secret="sk-b", api_key_id="key_b")]
    with Sim(now=lambda: NOON, keys=keys) as sim:

        def work(number: int) -> Counts:
            secret = "sk-a" if number % 2 else "sk-b"
            headers = {"Authorization": f"Bearer {secret}"}
            connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=HANG_S)
            read = Counts()
            for turn in range(10):
                connection.request("POST", "/v1/chat/completions", json.dumps(STREAM if turn % 2 else CHAT), headers)
                body = connection.getresponse().read()
                usage = json.loads(body.split(b"data: ")[-2] if turn % 2 else body)["usage"]
                read += Counts(input_text=usage["prompt_tokens"], output_text=usage["completion_tokens"], requests=1)
            connection.close()
            return read

        with ThreadPoolExecutor(50) as pool:
            read = list(pool.map(work, range(50)))
        assert sim.wait_idle()
        for api_key_id, mine in (("key_a", read[1::2]), ("key_b", read[0::2])):
            booked = sim.books.total(api_key_id=api_key_id)
            assert booked.requests == 250
            assert booked.input_tokens == sum(counts.input_tokens for counts in mine)
            assert booked.output_tokens == sum(counts.output_tokens for counts in mine)
        assert {entry.delivered for entry in sim.books.entries} == {True}
        assert len({entry.request_id for entry in sim.books.entries}) == 500


def test_a_head_is_answered_without_a_body_and_the_connection_goes_on() -> None:
    with Sim(now=lambda: NOON) as sim:
        connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=HANG_S)
        for _ in range(2):
            connection.request("HEAD", "/v1/models", headers={"Authorization": "Bearer sk-sim-0001"})
            answer = connection.getresponse()
            assert (int(answer.headers["Content-Length"]) > 0, answer.read()) == (True, b"")
        connection.close()


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("how", ["gzip", "br"])
def test_bodies_are_compressed_where_the_client_offers_it(how: str, body: dict[str, object]) -> None:
    with Sim(now=lambda: NOON, compression=how) as sim:
        client = Client(url=sim.url, secret="sk-sim-0001")
        packed = client.post("/v1/chat/completions", body, {"Accept-Encoding": "gzip, br"})
        plain = client.post("/v1/chat/completions", body)
    assert packed.headers["content-encoding"] == how
    opened = gzip.decompress(packed.body) if how == "gzip" else brotli.decompress(packed.body)
    assert b"total_tokens" in opened
    assert "content-encoding" not in plain.headers


def test_json_may_come_chunked_and_a_prefix_may_precede_v1() -> None:
    with Sim(now=lambda: NOON, json_chunked=True, prefix="/gateway") as sim:
        reply = Client(url=sim.base_url, secret="sk-sim-0001").post("/chat/completions", CHAT)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.json()["usage"]


def test_the_books_are_complete_before_the_client_sees_the_end() -> None:
    with Sim(now=lambda: NOON) as sim:
        connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=HANG_S)
        for _ in range(20):
            headers = {"Authorization": "Bearer sk-sim-0001"}
            connection.request("POST", "/v1/chat/completions", json.dumps(STREAM), headers)
            response = connection.getresponse()
            while b'"choices":[]' not in response.readline():
                pass
            assert sim.books.entries[-1].state is State.COMPLETED
            response.read()
        connection.close()


def test_the_completion_instant_is_the_streams_end_by_the_given_clock() -> None:
    clock = iter([NOON, *[NOON + 90] * 100])
    with Sim(now=lambda: next(clock), late_share=0.0) as sim:
        Client(url=sim.url, secret="sk-sim-0001").post("/v1/chat/completions", STREAM)
        (entry,) = sim.books.entries
        assert (entry.started_at, entry.completed_at) == (NOON, NOON + 90)
        assert sim.books.lines[0].minute == NOON + 60


def test_a_stopped_simulator_leaves_no_thread_and_frees_its_port() -> None:
    before = threading.active_count()
    with Sim(now=lambda: NOON, think_delay_s=30.0) as sim:
        port = sim.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)
        connection.request("GET", "/v1/models", headers={"Authorization": "Bearer sk-sim-0001"})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()
    assert threading.active_count() == before
    with Sim(now=lambda: NOON, port=port) as again:
        assert again.port == port
        with pytest.raises(OSError, match="in use"):
            Sim(port=port).start()


def test_it_runs_by_itself_and_tells_its_address_as_one_json_line() -> None:
    command = [sys.executable, "-m", "submeter.sim", "--until-eof", "--key", "sk-node=key_node", "--lag", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["keys"] == {"sk-node": "key_node"}
        assert Client(url=told["base_url"], secret="sk-node").post("/chat/completions", CHAT).status == 200
        process.stdin.close()
        assert process.wait(HANG_S) == 0
