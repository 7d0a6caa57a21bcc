"""CPU per call and added latency of the proxy, as paired ratios against mitmproxy with no recording.

    python bench/bench_proxy.py [--pairs 5] [--calls 2000] [--connections 16] [--kind json|sse|both]

An upstream that answers from memory, two proxies, and this load. The proxies take turns (A B C C B A ...) so that a
machine whose speed drifts drifts under all. CPU is the operating system's own count for a proxy's process, user and
system, the carrying of rows into DuckDB included. All loopback.

    submeter   as it is
    bare       mitmproxy as it comes, streaming: what submeter stood on before its lane
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
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
JSON_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
    b"Date: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
CHUNKS = 40
PROXIES = ("submeter", "bare")


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
REQUEST_BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "word " * 200}]}).encode()


def request(kind: str) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-bench\r\nX-Kind: %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (kind.encode(), len(REQUEST_BODY), REQUEST_BODY)
    )


async def upstream(listener: socket.socket) -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio does this itself only for sockets that it made.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")
                )
                await reader.readexactly(length)
                if b"X-Kind: sse" in head:
                    writer.write(SSE_HEAD)
                    for piece in SSE_PIECES:
                        writer.write(piece)
                        await asyncio.sleep(0)
                else:
                    writer.write(JSON_ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


def serve_submeter(upstream_url: str) -> None:
    from submeter.proxy import Submeter

    with (
        tempfile.TemporaryDirectory() as folder,
        Submeter(Path(folder) / "bench.duckdb", upstream=upstream_url) as meter,
    ):
        print(meter.url.rsplit(":", 1)[1], flush=True)
        sys.stdin.read()


def serve_mitmproxy(upstream_url: str) -> None:
    import logging

    from mitmproxy import http
    from mitmproxy.addons.core import Core
    from mitmproxy.addons.next_layer import NextLayer
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.master import Master
    from mitmproxy.options import Options

    class Bare:
        def __init__(self, proxyserver: Proxyserver) -> None:
            self._proxyserver = proxyserver

        def running(self) -> None:
            print(self._proxyserver.listen_addrs()[0][1], flush=True)

        def requestheaders(self, flow: http.HTTPFlow) -> None:
            flow.request.stream = True

        def responseheaders(self, flow: http.HTTPFlow) -> None:
            if flow.response:
                flow.response.stream = True

    async def main() -> None:
        options = Options(mode=[f"reverse:{upstream_url}"], listen_host="127.0.0.1", listen_port=0)
        master = Master(options)
        master._legacy_log_events.uninstall()
        proxyserver = Proxyserver()
        master.addons.add(Core(), proxyserver, NextLayer(), TlsConfig(), Bare(proxyserver))
        options.update(connection_strategy="lazy", keep_host_header=True, stream_large_bodies="1m")
        asyncio.get_running_loop().run_in_executor(None, lambda: (sys.stdin.read(), master.shutdown()))
        await master.run()

    logging.disable()
    asyncio.run(main())


async def load(port: int, calls: int, connections: int, kind: str) -> list[float]:
    latencies: list[float] = []
    raw = request(kind)

    async def client(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            began = time.perf_counter()
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            if b"chunked" in head.lower():
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(len(BODY))
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client(calls // connections) for _ in range(connections)))
    return latencies


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Proxy:
    def __init__(self, what: str, upstream_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", what, "--upstream", upstream_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def measure(self, calls: int, connections: int, kind: str) -> tuple[float, float]:
        """CPU milliseconds per call, and the median latency in milliseconds."""
        before = cpu_s(self.process.pid)
        latencies = asyncio.run(load(self.port, calls, connections, kind))
        return (cpu_s(self.process.pid) - before) * 1000 / len(latencies), statistics.median(latencies) * 1000

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1600)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--kind", choices=("json", "sse", "both"), default="both")
    parser.add_argument("--serve", choices=("upstream", *PROXIES), help=argparse.SUPPRESS)
    parser.add_argument("--upstream", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve == "upstream":
        asyncio.run(upstream(socket.create_server(("127.0.0.1", 0), backlog=512)))
    elif options.serve == "submeter":
        serve_submeter(options.upstream)
    elif options.serve in PROXIES:
        serve_mitmproxy(options.upstream)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    source = subprocess.Popen([sys.executable, __file__, "--serve", "upstream"], stdout=subprocess.PIPE, text=True)
    assert source.stdout
    upstream_port = int(source.stdout.readline())
    url = f"http://127.0.0.1:{upstream_port}"
    proxies = {name: Proxy(name, url) for name in PROXIES}
    try:
        for kind in ("json", "sse") if options.kind == "both" else (options.kind,):
            calls = options.calls if kind == "json" else options.calls // 4
            for proxy in proxies.values():
                proxy.measure(calls // 4 or options.connections, options.connections, kind)
            rows = []
            for pair in range(options.pairs):
                order = PROXIES if pair % 2 == 0 else PROXIES[::-1]
                rows.append({name: proxies[name].measure(calls, options.connections, kind)[0] for name in order})
            alone = {name: proxies[name].measure(max(200, calls // 8), 1, kind)[1] for name in proxies}
            direct = statistics.median(asyncio.run(load(upstream_port, max(200, calls // 8), 1, kind))) * 1000
            print(
                f"{kind}: CPU per call "
                + ", ".join(f"{name} {statistics.median(row[name] for row in rows):.3f} ms" for name in PROXIES)
                + f" ({options.pairs} rounds of {calls} calls, {options.connections} connections)"
            )
            for other in PROXIES[1:]:
                ratios = [row["submeter"] / row[other] for row in rows]
                print(
                    f"{kind}: submeter / {other}: median {statistics.median(ratios):.3f} "
                    f"(min {min(ratios):.3f}, max {max(ratios):.3f})"
                )
            print(
                f"{kind}: added latency p50 at 1 connection: "
                + ", ".join(f"{name} {alone[name] - direct:.2f} ms" for name in PROXIES)
                + f", over {direct:.2f} ms direct"
            )
    finally:
        for proxy in proxies.values():
            proxy.stop()
        source.terminate()
        source.wait(10)


if __name__ == "__main__":
    main()
