"""Host programs that fork while submeter works in them: the child has nothing of the proxy's, and holds nothing up.

Each runs as a program of its own: a fork of the test runner would take its threads' locks along.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, socket, sys, threading, time
from pathlib import Path
from submeter.data.clock import SystemClock
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger
from submeter.proxy import Submeter

ledger = Path(sys.argv[1])
upstream = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{upstream.getsockname()[1]}"

def fork_that_lives():
    child = os.fork()
    if child == 0:
        time.sleep(240)
        os._exit(0)
    return child

def end(child):
    os.kill(child, 9)
    os.waitpid(child, 0)

def ask(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=100)
    head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 13\\r\\n\\r\\n"
    client.sendall(head + b'{"model":"g"}')
    return client

def answer(data):
    there, _ = upstream.accept()
    there.recv(65536)
    there.sendall(data)
    return there

def whole(client):
    got = b""
    while not got.endswith(b"{}"):
        piece = client.recv(65536)
        if not piece:
            return False
        got += piece
    return True

HALF = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 1000\\r\\n\\r\\n{"
WHOLE = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 2\\r\\n\\r\\n{}"
"""


def told(tmp_path: Path, program: str) -> str:
    """What a program says; it ends without a fault, and long before its forked children would."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + program, str(tmp_path / "l.duckdb")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_break_reaches_the_client_though_a_forked_child_lives(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
with Submeter(ledger=ledger, upstream=url) as meter:
    client = ask(int(meter.url.rsplit(":", 1)[1]))
    there = answer(HALF)
    got = client.recv(65536)
    while not got.endswith(b"{"):
        got += client.recv(65536)
    child = fork_that_lives()
    there.shutdown(socket.SHUT_RDWR)  # Said on the connection: the child has a copy of this socket too.
    print(client.recv(65536))
    end(child)
""",
    )
    assert said == "b''\n"


def test_the_listener_is_closed_behind_the_block_though_a_forked_child_lives(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
with Submeter(ledger=ledger, upstream=url) as meter:
    port = int(meter.url.rsplit(":", 1)[1])
    child = fork_that_lives()
try:
    socket.create_connection(("127.0.0.1", port), timeout=100)
    print("connected")
except ConnectionRefusedError:
    print("refused")
end(child)
""",
    )
    assert said == "refused\n"


def test_a_forked_child_calls_by_its_parent_s_proxy_and_may_start_one_of_its_own(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
with Submeter(ledger=ledger, upstream=url) as meter:
    child = os.fork()
    if child == 0:
        client = ask(int(meter.url.rsplit(":", 1)[1]))
        print(whole(client))
        with Submeter(ledger=ledger.with_name("own.duckdb"), upstream=url) as own:
            print(own.url != meter.url, flush=True)
        os._exit(0)
    answer(WHOLE)
    print(os.waitpid(child, 0)[1] == 0)
after = Ledger(ledger, clock=SystemClock())
after.ingest()
print(after.query("SELECT count(*) FROM calls").rows, after.check().clean)
""",
    )
    assert said == "True\nTrue\nTrue\n[(1,)] True\n"


def test_a_child_that_leaves_its_parent_s_block_stops_nothing(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
child = None
with Submeter(ledger=ledger, upstream=url) as meter:
    port = int(meter.url.rsplit(":", 1)[1])
    child = os.fork()
    if child:
        print(os.waitpid(child, 0)[1] == 0, flush=True)
        client = ask(port)
        answer(WHOLE)
        print(whole(client))
if child == 0:
    os._exit(0)
""",
    )
    assert said == "True\nTrue\n"


def test_a_child_that_was_forked_in_the_middle_of_a_turn_holds_no_lock(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
import submeter.data.ledger as module
journal = Journal.open(ledger, mode="proxy", clock=SystemClock())
journal.begin(upstream=url)
opened = Ledger(ledger, clock=SystemClock())
opened.ingest()
carry, under_way, go_on = module.carry_turn, threading.Event(), threading.Event()

def slowly(*args, **named):
    under_way.set()
    go_on.wait(100)
    return carry(*args, **named)

module.carry_turn = slowly
journal.append("gap", {"from": 1, "to": 2, "calls": 1, "lines": 0})
turn = threading.Thread(target=opened.ingest)
turn.start()
under_way.wait(100)
child = fork_that_lives()
go_on.set()
turn.join()
module.carry_turn = carry
journal.append("gap", {"from": 3, "to": 4, "calls": 1, "lines": 0})
print(opened.ingest(wait_s=5).held, opened.query("SELECT count(*) FROM gaps").rows)
end(child)
""",
    )
    assert said == "False [(2,)]\n"


def test_a_proxy_in_a_child_process_ends_with_its_program_s_block_though_a_forked_child_lives(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
from submeter.proxy.child import ChildProxy
from submeter.proxy.listen import Listen
proxy = ChildProxy(ledger=ledger, listen=Listen(host="127.0.0.1", port=0), upstream=url, drain_s=0.5,
                   environment={"PATH": ""})
proxy.start()
child = fork_that_lives()
process = proxy._process
proxy.stop(0.5)
print(process.returncode)
end(child)
""",
    )
    assert said == "0\n", "it had to be killed"


@pytest.mark.parametrize("action", ["error", "always"])
def test_a_tls_client_leaves_the_host_s_list_of_warnings_alone(tmp_path: Path, action: str) -> None:
    said = told(
        tmp_path,
        f"""
import ssl, warnings
warnings.simplefilter("{action}")
entered = []
enter = warnings.catch_warnings.__enter__
warnings.catch_warnings.__enter__ = lambda self: (entered.append(threading.current_thread().name), enter(self))[1]
with Submeter(ledger=ledger, upstream=url) as meter:
    port = int(meter.url.rsplit(":", 1)[1])
    context = ssl._create_unverified_context()
    plain = socket.create_connection(("127.0.0.1", port), timeout=100)
    with context.wrap_socket(plain, server_hostname="localhost") as client:
        client.sendall(b"GET /_submeter/health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        print(client.recv(65536)[:15])
print("submeter-proxy" in entered)
""",
    )
    assert said == "b'HTTP/1.1 200 OK'\nFalse\n"
