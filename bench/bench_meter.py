"""The meter's CPU against the cheapest thing one could do with the same bytes, in one run.

    python bench/bench_meter.py

Prints, for each shape of body, microseconds per body (or per chunk) of the meter, of `json.loads` on the same JSON,
and their ratio; then 64 MiB of JSON: seconds and peak memory. Ratios carry from machine to machine, times do not.
Rounds are interleaved, so that a slow moment slows both; the smallest of each is taken.

Never here: a socket. What the proxy adds around the meter is measured elsewhere.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.meter import Meter

ROUNDS = 15
CHUNKS = 500
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"

USAGE: dict[str, Any] = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def chat_body(text: str) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    return json.dumps(
        {
            "id": "chatcmpl-BENCH",
            "object": "chat.completion",
            "created": 1741569952,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
            "service_tier": "default",
        }
    ).encode()


def chat_chunk(number: int) -> dict[str, Any]:
    return {
        "id": "chatcmpl-BENCH",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "choices": [{"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}],
        "usage": None,
        "obfuscation": "x" * (number % 16),
    }


def meter_all(path: str, content_type: str, chunks: list[bytes]) -> None:
    meter = Meter(find_endpoint("POST", path), status_code=200, content_type=content_type, content_encoding=None)
    for chunk in chunks:
        meter.feed(chunk)
    meter.finish()
    if meter.reading().usage is None:
        raise AssertionError("the meter missed the usage it is timed on")


def smallest_s(*steps: Callable[[], object], repeat: int) -> list[float]:
    """Seconds of CPU per step, each the smallest of interleaved rounds."""
    best = [float("inf")] * len(steps)
    for _ in range(ROUNDS):
        for index, step in enumerate(steps):
            began = time.process_time()
            for _ in range(repeat):
                step()
            best[index] = min(best[index], (time.process_time() - began) / repeat)
    return best


def compare(title: str, path: str, content_type: str, chunks: list[bytes], documents: list[bytes]) -> None:
    repeat = max(1, 4_000_000 // sum(len(chunk) for chunk in chunks) // ROUNDS)
    metered, parsed = smallest_s(
        lambda: meter_all(path, content_type, chunks),
        lambda: [json.loads(document) for document in documents],
        repeat=repeat,
    )
    each = len(documents)
    print(f"{title:<34}{metered / each * 1e6:>10.2f}{parsed / each * 1e6:>14.2f}{metered / parsed:>8.2f}")


def long_body() -> Iterator[bytes]:
    yield b'{"data":[{"b64_json":"'
    for _ in range(1024):
        yield b"QUJD" * 16_384
    yield b'"}],"usage":{"input_tokens":3,"output_tokens":4}}'


def long_floats() -> Iterator[bytes]:
    yield b'{"data":[{"embedding":[0.5'
    for _ in range(1024):
        yield b",-0.0123456789" * 4_681
    yield b']}],"usage":{"prompt_tokens":3,"total_tokens":3}}'


def bounded(title: str, path: str, body: Callable[[], Iterator[bytes]]) -> None:
    for traced in (False, True):
        meter = Meter(find_endpoint("POST", path), status_code=200, content_type=JSON_TYPE, content_encoding=None)
        if traced:
            tracemalloc.start()
        began = time.process_time()
        for chunk in body():
            meter.feed(chunk)
        meter.finish()
        known = meter.reading().usage is not None
        if not traced:
            spent_s = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"{title:<34}{spent_s:>8.2f} s{peak:>10.1f} MiB  {'usage read' if known else 'MISSED'}")


def main() -> None:
    print(f"{'us per body or chunk':<34}{'meter':>10}{'json.loads':>14}{'ratio':>8}")
    for words in (50, 280, 20_000):
        body = chat_body("word " * words)
        compare(f"chat JSON, {len(body)} bytes", "/v1/chat/completions", JSON_TYPE, [body], [body])
    documents = [json.dumps(chat_chunk(number)).encode() for number in range(CHUNKS)]
    documents.append(json.dumps({**chat_chunk(0), "choices": [], "usage": USAGE}).encode())
    chunks = [b"data: " + document + b"\n\n" for document in documents] + [b"data: [DONE]\n\n"]
    compare("chat SSE, a chunk an event", "/v1/chat/completions", SSE_TYPE, chunks, documents)
    whole = b"".join(chunks)
    pieces = [whole[start : start + 1000] for start in range(0, len(whole), 1000)]
    compare("chat SSE, cut anywhere at 1000", "/v1/chat/completions", SSE_TYPE, pieces, documents)
    bounded("64 MiB, one string", "/v1/images/generations", long_body)
    bounded("64 MiB, floats", "/v1/embeddings", long_floats)


if __name__ == "__main__":
    main()
