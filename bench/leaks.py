"""Where a secret ends up: keys in every variable, header, path, body and error, and a search of all that is left.

    python bench/leaks.py

A proxy, `submeter run` and the commands are given secrets, each its own, in every place that may hold one; an upstream
and a Usage API quote them back in bodies, headers and errors. Then every file beside the ledger, every table, what
was printed and logged, the live page, and the environment of the command that `run` started are searched for each.
One that is found is printed with its place, and the exit code is 1.

At the end the proxy is ended by SIGABRT with cores allowed: a core that it left would be one of the files. Before that
one of its memory is written by `gcore`, where there is such, and searched: what is in the memory of a proxy is no leak,
but it should be known. It is printed, and never counted. All loopback; needs no key.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

SUBMETER = str(Path(sys.executable).with_name("submeter"))
VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_API_KEY_CHATDEV",
    "OPENAI_API_KEY_BAES",
    "OPENAI_ADMIN_KEY",
    "OPENAI_API_KEY_USAGE_TRACKING",
    "OPEN_AI_KEY_ADM",
    "SUBMETER_TOKEN",
)
PLACES = (
    "authorization header",
    "x-api-key header",
    "cookie header",
    "a header of no name we know",
    "proxy-authorization header",
    "path",
    "path of a refused request",
    "query",
    "request body",
    "request body that is no JSON",
    "websocket protocol",
    "basic authorization",
    "response body",
    "response cookie",
    "response header of no name we know",
    "error message",
    "error code",
    "error param",
    "error type",
    "event of a stream",
    "reason of a status line",
    "upstream's error page",
    "usage api's error",
)
KNOWN_BY_FORM = {
    "path",
    "path of a refused request",
    "error code",
    "error param",
    "error type",
    "usage api's error",
}
"""Places of which something is kept, a key in it cut by its form: here it has OpenAI's. Elsewhere none helps."""
OWN = {"OPENAI_API_KEY", "OPENAI_API_KEY_CHATDEV", "SUBMETER_TOKEN"}
"""What a command of the framework may be given: its own key, by these names, and the token that clients need."""


def made_secrets() -> dict[str, str]:
    """A secret of each place: 32 letters that are nowhere else, behind `sk-proj-` where only its form could tell."""
    return {
        place: ("sk-proj-" if place in KNOWN_BY_FORM else "") + secrets.token_hex(16) for place in (*VARIABLES, *PLACES)
    }


def serve(held: dict[str, str]) -> ThreadingHTTPServer:
    """An upstream, and a Usage API, that quote what they should not."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("X-Kind", "")
            body = json.dumps(chat(held["response body"])).encode()
            status, content_type = 200, "application/json"
            if "/organization/" in self.path:
                status, body = 401, error(held["usage api's error"], self.headers.get("Authorization", ""))
            elif kind == "error":
                status, body = 401, error(held["error message"], held["error code"], held["error param"])
            elif kind == "error type":
                status, body = 400, json.dumps({"error": {"type": held["error type"], "message": "m"}}).encode()
            elif kind == "page":
                status, content_type = 502, "text/html"
                body = f"<h1>{held['upstream' + chr(39) + 's error page']}</h1>".encode()
            elif kind == "stream":
                content_type = "text/event-stream"
                body = stream(held["event of a stream"])
            self.send_response(status, held["reason of a status line"])
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Set-Cookie", f"session={held['response cookie']}")
            self.send_header("X-Some", held["response header of no name we know"])
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def chat(content: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"message": {"content": content}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def error(message: str, code: str, param: str = "p") -> bytes:
    told = {"message": message, "type": "invalid_request_error", "code": code, "param": param}
    return json.dumps({"error": told}).encode()


def stream(content: str) -> bytes:
    head = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
    events = [
        {**head, "choices": [{"index": 0, "delta": {"content": content}}], "usage": None},
        {**head, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
    ]
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


def calls(url: str, held: dict[str, str]) -> None:
    """One call for each kind of answer, every header and body with a secret, and some that are refused."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": held["request body"]}]})
    common = (
        f"x-api-key: {held['x-api-key header']}\r\n"
        f"Cookie: a={held['cookie header']}\r\n"
        f"X-Thing: {held['a header of no name we know']}\r\n"
        f"Proxy-Authorization: Bearer {held['proxy-authorization header']}\r\n"
    )
    bearer = f"Authorization: Bearer {held['authorization header']}\r\n"
    own = f"Authorization: Bearer {held['OPENAI_API_KEY_CHATDEV']}\r\n"
    basic = base64.b64encode(f"user:{held['basic authorization']}".encode()).decode()
    chat_path = f"/run/r-1/step/1/v1/chat/completions?api_key={held['query']}"

    def post(path: str, head: str, text: str) -> None:
        ask(
            url,
            f"POST {path} HTTP/1.1\r\nHost: x\r\n{common}{head}Content-Type: application/json\r\n"
            f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n{text}",
        )

    for head in (bearer, own, f"Authorization: Basic {basic}\r\n"):
        for kind in ("", "error", "error type", "page", "stream"):
            post(chat_path, f"{head}X-Kind: {kind}\r\n", body)
    post(chat_path, bearer, held["request body that is no JSON"])
    post(f"/v1/models/{held['path']}", bearer, body)
    refused = held["path of a refused request"]
    for line in (f"GET {refused} HTTP/1.1", f"GET http://x/{refused} HTTP/1.1", f"CONNECT {refused}:443 HTTP/1.1"):
        ask(url, f"{line}\r\nHost: x\r\n{bearer}Connection: close\r\n\r\n")
    ask(url, f"GET /v1/x HTTP/1.1\r\nHost: x\r\n{bearer} folded: {refused}\r\n\r\n")
    ask(url, f"BAD {refused}\r\n\r\n")
    ask(
        url,
        "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{held['websocket protocol']}\r\n{common}\r\n",
    )


def ask(url: str, text: str) -> bytes:
    """Send bytes as they are and read until the other side has said all, or a second has been silent."""
    where = urlsplit(url)
    said = b""
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as one:
        one.sendall(text.encode())
        one.settimeout(1.0)
        try:
            while piece := one.recv(65_536):
                said += piece
        except (TimeoutError, ConnectionError):
            pass
    return said


def variants(secret: str) -> list[bytes]:
    """As it is, and as Basic authorization has it."""
    return [secret.encode(), secret.removeprefix("sk-proj-").encode(), base64.b64encode(f"user:{secret}".encode())]


def search(where: str, text: bytes, held: dict[str, str], allowed: set[str]) -> list[str]:
    """Lines that say which secret is in this text."""
    return [
        f"{place}: in {where}"
        for place, secret in held.items()
        if place not in allowed and any(each in text for each in variants(secret))
    ]


def core_of(pid: int, folder: Path) -> Path | None:
    """The memory of a process, which lives on; None where there is no `gcore`."""
    if shutil.which("gcore"):
        subprocess.run(["gcore", "-o", str(folder / "core"), str(pid)], capture_output=True, check=False, timeout=300)
    return next(iter(folder.glob("core*")), None)


def in_core(core: Path, held: dict[str, str]) -> dict[str, int]:
    """How often each secret is in the core."""
    found = dict.fromkeys(held, 0)
    longest = 200
    with core.open("rb") as file:
        before = b""
        while piece := file.read(1 << 24):
            text = before + piece
            for place, secret in held.items():
                found[place] += len(re.findall(re.escape(secret.encode()), text[: len(text) - longest]))
            before = text[-longest:]
    return {place: times for place, times in found.items() if times}


def battery(folder: Path, *, core: bool) -> tuple[list[str], dict[str, int]]:
    """Everything, in this folder: where secrets were found, and what is in the core."""
    held = made_secrets()
    api = serve(held)
    upstream = f"http://127.0.0.1:{api.server_address[1]}"
    ledger = folder / "submeter.duckdb"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUBMETER_"))},
        **{name: held[name] for name in VARIABLES},
        "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev",
        "SUBMETER_LEDGER": str(ledger),
        "SUBMETER_USAGE_API_URL": upstream,
        "XDG_DATA_HOME": str(folder / "data"),
    }
    printed: dict[str, bytes] = {}
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log = folder / "proxy.log"
    with log.open("wb") as file:
        proxy = subprocess.Popen(
            [SUBMETER, "proxy", "--listen", "127.0.0.1:0", "--upstream", upstream, "--json", "--log", "calls"],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=file,
        )
        assert proxy.stdout is not None
        url = json.loads(proxy.stdout.readline())["url"]
        calls(url, held)
        for page in ("/_submeter/", "/_submeter/health"):
            printed[f"GET {page}"] = ask(url, f"GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        cores = folder / "cores"
        cores.mkdir()
        remembered = in_core(found, held) if core and (found := core_of(proxy.pid, cores)) else {}
        shutil.rmtree(cores)
        printed |= commands(environment, folder)
        proxy.send_signal(signal.SIGABRT)
        proxy.wait(60)
        printed["the proxy's stdout"] = proxy.stdout.read()
    api.shutdown()
    leaks = [line for where, text in printed.items() for line in search(where, text, held, allowed_in(where))]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            leaks += search(str(path.relative_to(folder)), path.read_bytes(), held, set())
    return leaks, remembered


def allowed_in(where: str) -> set[str]:
    return OWN if where == "the environment of the command of `run`" else set()


def commands(environment: dict[str, str], folder: Path) -> dict[str, bytes]:
    """What the commands print, and the environment that `run` gives its own."""
    words: dict[str, list[str]] = {
        "the environment of the command of `run`": ["run", "--framework", "chatdev", "--run", "r-2", "--", "env"],
        "run": ["run", "--framework", "chatdev", "--run", "r-3", "--", "true"],
    }
    for text in (
        "runs --json",
        "runs",
        "steps chatdev/r-1 --json",
        "doctor",
        "doctor --json",
        "audit chatdev/r-2",
        "audit chatdev/r-2 --json",
        "audit --from 2026-01-01 --to 2026-01-02",
        "runs --pending --json",
        "explain chatdev/r-2",
        "ledger check",
        "ledger snapshot copy.duckdb",
        "env",
    ):
        words[text] = text.split()
    for table in ("calls", "processes", "keys", "usage_reads", "audits", "unknown_calls"):
        words[f"sql FROM {table}"] = ["sql", f"FROM {table}", "--json"]
    printed = {}
    for where, given in words.items():
        done = subprocess.run(
            [SUBMETER, *given], env=environment, cwd=folder, capture_output=True, check=False, timeout=120
        )
        printed[where] = done.stdout + done.stderr
        if b"Traceback" in done.stderr:
            printed[where] += b"\nTRACEBACK"
            print(f"a traceback from {where}", file=sys.stderr)
    return printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-core", action="store_true", help="leave the proxy's memory out")
    parser.add_argument("--keep", type=Path, help="do it in this folder and leave it there")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        leaks, remembered = battery(given.keep, core=not given.no_core)
    else:
        with tempfile.TemporaryDirectory() as folder:
            leaks, remembered = battery(Path(folder), core=not given.no_core)
    print(json.dumps({"secrets": len(VARIABLES) + len(PLACES), "leaks": leaks, "in the core": remembered}, indent=1))
    sys.exit(1 if leaks else 0)


if __name__ == "__main__":
    main()
