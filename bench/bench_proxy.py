"""CPU per call and added latency of the proxy beside others, as ratios within one run.

    python bench/bench_proxy.py [--pairs 5] [--calls 1600] [--connections 16] [--kind json|sse|both] [--tls]
                                [--sides submeter,a2b2de9,pipe,nginx] [--peers]

An upstream that answers from memory (as many headers as OpenAI's), the sides of `sides.py`, and this load. The sides
take turns (A B C C B A ...) so that a machine whose speed drifts drifts under all. CPU is the operating system's own
count for a side's processes, user and system, submeter's carrying of rows into DuckDB included. `--tls`: the upstream
speaks TLS, and its certificate is verified. `--peers` adds LiteLLM's proxy and Portkey's gateway. All loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import PEERS
from sides import OLD, SIDES, Side, available

USAGE = {"prompt_tokens": 812, "completion_tokens": 240, "total_tokens": 1052}
BODY = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 350}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
MORE_HEADERS = b"".join(b"x-ratelimit-of-some-kind-%d: %d thousand a minute\r\n" % (n, n) for n in range(24))
"""An answer of OpenAI's has about thirty headers."""
JSON_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n%b"
    b"Date: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n%b" % (MORE_HEADERS, len(BODY), BODY)
)
CHUNKS = 40
LOAD_S_MAX = 120.0


def _event(value: dict[str, object]) -> bytes:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
SSE_PIECES = [
    *(
        _event(
            {
                **_CHUNK,
                "choices": [{"index": 0, "delta": {"content": f"word{n}"}}],
                "usage": None,
                "obfuscation": "x" * 9,
            }
        )
        for n in range(CHUNKS)
    ),
    _event({**_CHUNK, "choices": [], "usage": USAGE}),
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
]
_QUESTION = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "word " * 200}]}
REQUEST_BODY = json.dumps(_QUESTION).encode()
# The client asks for the usage itself, so that nothing has to be asked for it, nor hidden from it.
STREAM_BODY = json.dumps({**_QUESTION, "stream": True, "stream_options": {"include_usage": True}}).encode()


def request(kind: str, headers: bytes = b"") -> bytes:
    body = STREAM_BODY if kind == "sse" else REQUEST_BODY
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-bench\r\n%b"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)
    )


def body_length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next(int(value) for name, _, value in lines if name == b"content-length")


async def upstream(listener: socket.socket, certificate: str = "") -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio does this itself only for sockets that it made.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"POST "):
                    # A peer looks around before it serves.
                    writer.close()
                    return
                asked = await (
                    reader.readuntil(b"\r\n0\r\n\r\n")
                    if b"chunked" in head.lower()
                    else reader.readexactly(body_length(head))
                )
                # A peer writes the question anew, with blanks of its own.
                if b'"stream":true' in asked.replace(b" ", b""):
                    writer.write(SSE_HEAD)
                    for piece in SSE_PIECES:
                        writer.write(piece)
                        await asyncio.sleep(0)
                else:
                    writer.write(JSON_ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.start_server(connection, sock=listener, ssl=context)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


async def load(
    port: int, calls: int, connections: int, kind: str, *, tls: ssl.SSLContext | None = None, headers: bytes = b""
) -> list[float]:
    latencies: list[float] = []
    raw = request(kind, headers)

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        for _ in range(count):
            began = time.perf_counter()
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"port {port} answered {head!r}")
            if b"chunked" in head.lower():
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                await reader.readexactly(body_length(head))
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client(calls // connections) for _ in range(connections)))
    return latencies


def measure(side: Side, calls: int, connections: int, kind: str) -> tuple[float, float]:
    """CPU milliseconds per call, and the median latency in milliseconds."""
    before = side.cpu_s()
    try:
        latencies = asyncio.run(
            asyncio.wait_for(load(side.port, calls, connections, kind, headers=side.headers), LOAD_S_MAX)
        )
    except TimeoutError:
        raise SystemExit(f"{side.name} did not answer {calls} calls ({kind}) in {LOAD_S_MAX:.0f} s") from None
    return (side.cpu_s() - before) * 1000 / len(latencies), statistics.median(latencies) * 1000


def held(side: Side) -> str:
    """What a side holds now: the same after a hundred thousand calls as after a thousand, if it forgets them."""
    return f"{side.resident_mib():.0f} MiB, {side.open_files()} files"


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file, signed by itself."""
    path = folder / "upstream.pem"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(path), "-out", str(folder / "only.pem")]
    subprocess.run(["openssl", "req", "-x509", *made, *name], check=True, stderr=subprocess.DEVNULL)
    path.write_bytes(path.read_bytes() + (folder / "only.pem").read_bytes())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1600)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--kind", choices=("json", "sse", "both"), default="both")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--certificate", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(upstream(socket.create_server(("127.0.0.1", 0), backlog=512), options.certificate))
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, make_certificate(Path(folder)) if options.tls else None)


def compare(options: argparse.Namespace, certificate: Path | None) -> None:
    serve = [sys.executable, __file__, "--serve", "--certificate", str(certificate or "")]
    source = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    assert source.stdout
    upstream_port = int(source.stdout.readline())
    url = f"http{'s' if certificate else ''}://127.0.0.1:{upstream_port}"
    tls = ssl.create_default_context(cafile=certificate) if certificate else None
    names = available(tuple(options.sides.split(",")) + (PEERS if options.peers else ()))
    sides: dict[str, Side] = {}
    try:
        for name in names:
            sides[name] = Side(name, url, certificate)
        for kind in ("json", "sse") if options.kind == "both" else (options.kind,):
            calls = options.calls if kind == "json" else options.calls // 4
            for side in sides.values():
                measure(side, calls // 4 or options.connections, options.connections, kind)
            print("warmed up:  " + "; ".join(f"{name} {held(side)}" for name, side in sides.items()))
            rows = []
            for pair in range(options.pairs):
                order = names if pair % 2 == 0 else names[::-1]
                rows.append({name: measure(sides[name], calls, options.connections, kind)[0] for name in order})
            alone = {name: measure(sides[name], max(200, calls // 8), 1, kind)[1] for name in names}
            direct = statistics.median(asyncio.run(load(upstream_port, max(200, calls // 8), 1, kind, tls=tls))) * 1000
            tell(kind, names, rows, {name: ms - direct for name, ms in alone.items()}, direct)
            print(f"  {options.pairs} rounds of {calls} calls, {options.connections} connections, upstream {url[:5]}")
        print("at the end: " + "; ".join(f"{name} {held(side)}" for name, side in sides.items()))
    finally:
        for side in sides.values():
            side.stop()
        source.terminate()
        source.wait(10)


def tell(
    kind: str, names: tuple[str, ...], rows: list[dict[str, float]], added_ms: dict[str, float], direct_ms: float
) -> None:
    for name in names:
        median_ms = statistics.median(row[name] for row in rows)
        line = f"{kind} {name:9s} {median_ms:7.3f} ms of CPU a call"
        if kind == "sse":
            line += f", {median_ms * 1000 / len(SSE_PIECES):6.1f} us a chunk"
        if OLD in names:
            ratios = [row[name] / row[OLD] for row in rows]
            median = statistics.median(ratios)
            line += f", {median:.3f} of {OLD} (min {min(ratios):.3f}, max {max(ratios):.3f})"
        print(f"{line}, latency p50 +{added_ms[name]:.2f} ms over {direct_ms:.2f} direct")


if __name__ == "__main__":
    main()
