"""How late a chunk of a stream is, when many streams run at once: the sides of `sides.py`, and no proxy at all.

    python bench/bench_streams.py [--streams 75] [--per-second 100] [--seconds 10] [--pairs 3]
                                  [--sides submeter,workers,a2b2de9,pipe,nginx] [--most 20]

An upstream sends each stream a chunk every so many milliseconds with the time it was sent in it (CLOCK_MONOTONIC, one
clock for all processes of a machine); a client in a process of its own reads it off. Each proxy is held to one
processor, but for `workers`, two processes on one port. Lag is what the proxy and two hops over loopback add; `direct`
is one hop. All loopback, and the upstream and the client take a core between them: what a machine of two carries is
found with `--most MS`, the largest number of streams whose p99 is under so many milliseconds.
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
import time
from collections.abc import Iterator

from bench_proxy import REQUEST_BODY, SSE_HEAD, USAGE
from sides import SIDES, Side, available, cpu_s

_CHUNK = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
_SENT = b'"sent": '
MOST_STEP = 25


def event(value: dict[str, object]) -> bytes:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def request(seconds: float, per_second: float, offset: float) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-bench\r\n"
        b"X-Shape: %f %f %f\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (seconds, per_second, offset, len(REQUEST_BODY), REQUEST_BODY)
    )


async def upstream(listener: socket.socket) -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            # Whoever looked whether we are there has gone.
            writer.close()
            return
        length = next(
            int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length")
        )
        await reader.readexactly(length)
        seconds, per_second, offset = map(float, head.split("X-Shape: ")[1].split("\r\n")[0].split())
        writer.write(SSE_HEAD)
        await asyncio.sleep(offset)
        began = time.monotonic()
        for n in range(int(seconds * per_second)):
            await asyncio.sleep(max(0.0, began + n / per_second - time.monotonic()))
            choices = [{"index": 0, "delta": {"content": f" word{n}"}}]
            writer.write(event({**_CHUNK, "choices": choices, "usage": None, "sent": time.monotonic_ns()}))
        writer.write(event({**_CHUNK, "choices": [], "usage": USAGE}) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connection, sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


def sent_times(data: bytes) -> Iterator[int]:
    """When each chunk that is whole in these bytes was sent, in nanoseconds."""
    at = data.find(_SENT)
    while at >= 0:
        end = data.index(b"}", at)
        yield int(data[at + len(_SENT) : end])
        at = data.find(_SENT, end)


async def lags_ms(port: int, streams: int, per_second: float, seconds: float) -> list[float]:
    """Milliseconds from send to arrival, chunk by chunk; the first second, in which streams begin, is left out."""
    lags: list[float] = []

    async def stream(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(seconds, per_second, number / streams))
        held = b""
        from_ns = time.monotonic_ns() + 1_000_000_000
        while data := await reader.read(65536):
            now_ns = time.monotonic_ns()
            held += data
            whole = held.rfind(b"\n\n") + 2
            if now_ns >= from_ns:
                lags.extend((now_ns - sent) / 1e6 for sent in sent_times(held[:whole]))
            held = held[whole:]
            if b"[DONE]" in data:
                break
        writer.close()

    await asyncio.gather(*(stream(number) for number in range(streams)))
    return lags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=75)
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--most", type=float, metavar="MS")
    parser.add_argument("--serve", choices=("upstream",), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(upstream(socket.create_server(("127.0.0.1", 0), backlog=512)))
    else:
        compare(options)


def _cpu_s(side: Side | None, source: subprocess.Popen[str]) -> float:
    return cpu_s(source.pid) if side is None else side.cpu_s()


def _measure(
    options: argparse.Namespace, streams: int, side: Side | None, source: subprocess.Popen[str], upstream_port: int
) -> float:
    """Run so many streams by this side, print what they took, and answer the p99 of their lag in milliseconds."""
    port = upstream_port if side is None else side.port
    before, began = _cpu_s(side, source), time.monotonic()
    lags = asyncio.run(lags_ms(port, streams, options.per_second, options.seconds))
    spent_s = _cpu_s(side, source) - before
    core = spent_s / (time.monotonic() - began)
    chunks = streams * options.per_second * options.seconds
    cuts = statistics.quantiles(lags, n=1000)
    print(
        f"{'direct' if side is None else side.name:9s} {streams} streams at {options.per_second:.0f} chunks/s: "
        f"lag p50 {cuts[499]:.2f} ms, p99 {cuts[989]:.2f} ms, p99.9 {cuts[998]:.2f} ms, "
        f"{spent_s * 1e6 / chunks:.1f} us of CPU a chunk, "
        f"{core:.0%} of a core{' (the upstream)' if side is None else ''}",
        flush=True,
    )
    return cuts[989]


def _most(options: argparse.Namespace, side: Side | None, source: subprocess.Popen[str], upstream_port: int) -> int:
    """The largest number of streams, in steps of `MOST_STEP`, whose p99 stays under `--most`."""
    low, high = 0, 1
    while _measure(options, high * MOST_STEP, side, source, upstream_port) < options.most:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if _measure(options, middle * MOST_STEP, side, source, upstream_port) < options.most:
            low = middle
        else:
            high = middle
    return low * MOST_STEP


def compare(options: argparse.Namespace) -> None:
    source = subprocess.Popen([sys.executable, __file__, "--serve", "upstream"], stdout=subprocess.PIPE, text=True)
    assert source.stdout
    upstream_port = int(source.stdout.readline())
    sides: dict[str, Side] = {}
    try:
        for name in available(tuple(options.sides.split(","))):
            sides[name] = Side(name, f"http://127.0.0.1:{upstream_port}")
            sides[name].hold_to(min(os.sched_getaffinity(0)))
        if options.most is not None:
            for name in ("direct", *sides):
                print(f"{name:9s} at most {_most(options, sides.get(name), source, upstream_port)} streams", flush=True)
            return
        for pair in range(options.pairs):
            for name in ("direct", *(sides if pair % 2 == 0 else reversed(sides))):
                _measure(options, options.streams, sides.get(name), source, upstream_port)
    finally:
        for side in sides.values():
            side.stop()
        source.terminate()
        source.wait(10)


if __name__ == "__main__":
    main()
