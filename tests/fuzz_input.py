"""One input of the fuzzer: a file that it can mutate and a test can replay.

The first bytes choose the law that is asked, what the body is said to be, and where it is cut; the rest is the body,
raw or spelled in `TOKENS`.
"""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import zstandard

BODY_BYTES_MAX = 300_000

PATHS = [
    *("chat/completions", "completions", "responses", "responses/compact", "embeddings", "images/generations"),
    *("images/edits", "audio/transcriptions", "audio/speech", "batches", "threads/runs", "moderations", "what/ever"),
]
CONTENT_TYPES = [
    *("application/json", "text/event-stream; charset=utf-8", None, "text/plain", "application/octet-stream"),
    *("audio/mpeg", "application/problem+json", "\x00;;/json"),
]
STATUSES = [200, 200, 200, 201, 400, 429, 503]
CODINGS: list[tuple[str | None, Callable[[bytes], bytes] | None]] = [
    (None, None),
    ("identity", None),
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", lambda body: zlib.compress(body)[2:-4]),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("br, gzip", lambda body: gzip.compress(brotli.compress(body))),
    ("unheard-of", None),
]
BOUNDARY = b"----cut"
REQUEST_TYPES = ["application/json", None, "multipart/form-data; boundary=----cut", 'multipart/form-data; boundary="x']

TOKENS = [
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\t", b"0", b"7", b"-1"),
    *(b"1.5", b"1e3", b"12345678901234567890123", b"null", b"true", b"false", b"NaN", b"Infinity", b'"x"', b'""'),
    *(b'"usage":', b'"tool_usage":', b'"id":', b'"model":', b'"status":', b'"object":', b'"type":', b'"choices":'),
    *(b'"created":', b'"error":', b'"output":', b'"response":', b'"item":', b'"data":', b'"service_tier":'),
    *(b'"prompt_tokens":', b'"completion_tokens":', b'"input_tokens":', b'"output_tokens":', b'"total_tokens":'),
    *(b'"prompt_tokens_details":', b'"cached_tokens":', b'"delta":', b'"code":', b'"background":', b'"stream":'),
    *(b'"stream_options":', b'"include_usage":', b'"input":', b'"voice":', b'"n":', b'"*":', b'"us\\u0061ge":'),
    *(b'"response.completed"', b'"response.created"', b'"response.create"', b'"response.done"', b'"completed"'),
    *(b'"queued"', b'"chat.completion.chunk"', b'"thread.run"', b'"batch"', b'"response"', b'"mcp_call"', b'"error"'),
    *(b"data: ", b"data:", b"data", b"event: ", b"event:error", b"id: 1", b"retry: 9", b": comment", b":", b"[DONE]"),
    *(b"data: [DONE]\n\n", b'{"usage":{"prompt_tokens":3,"completion_tokens":2},"choices":[]}', b'"usage":null'),
    *(b'{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":1,"output_tokens":2}}}',),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xff", b"\\ud800", b"\\u0022", b"\x00", b"x" * 70_000, b" " * 9_000),
    *(b"--" + BOUNDARY, b"--" + BOUNDARY + b"--", b'Content-Disposition: form-data; name="model"', b"; filename=a"),
]


class Input:
    """The choices that the first bytes of an input make, and its body."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte; 0 where there is none left."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def one_of(self, things: list[Any]) -> Any:
        return things[self.byte() % len(things)]

    def body(self) -> tuple[bytes, list[bytes]]:
        """The body whole, and the same in pieces."""
        spelled = self.byte() & 1
        cuts = [self.byte() | self.byte() << 8 for _ in range(self.byte() % 8)]
        body = self._data[self._at :]
        if spelled:
            body = b"".join(TOKENS[byte % len(TOKENS)] for byte in body)
        body = body[:BODY_BYTES_MAX]
        return body, pieces(body, cuts)


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """A body cut at these places (modulo its length), or byte by byte where there are none and it is short."""
    if not cuts and len(body) <= 400:
        return [bytes([byte]) for byte in body]
    edges = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    return [body[begin:end] for begin, end in itertools.pairwise(edges)]
