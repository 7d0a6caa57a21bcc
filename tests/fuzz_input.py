"""One input of the fuzzer: a file that it can mutate and a test can replay.

The first bytes choose the law that is asked, what the body is said to be, and where it is cut; the rest is the body:
raw, spelled in `TOKENS`, or the choices that compose a document or a stream of events which is well-formed mostly.
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

NAMES = [
    *(b"usage", b"usage", b"choices", b"id", b"model", b"object", b"type", b"response", b"output", b"data", b"error"),
    *(b"status", b"tool_usage", b"item", b"stream", b"stream_options", b"include_usage", b"prompt_tokens", b"x", b""),
    *(b"completion_tokens", b"input_tokens", b"output_tokens", b"us\\u0061ge", b"created", b"background", b"n", b"*"),
]
SCALARS = [
    *(b"null", b"true", b"false", b"0", b"7", b"-1", b"1.5", b"1e400", b"12345678901234567890123", b"NaN", b'"usage"'),
    *(
        b'"response.completed"',
        b'"response"',
        b'"error"',
        b'"chat.completion.chunk"',
        b'"a\\"b"',
        b'"\\ud800"',
        b"{}",
        b"[]",
    ),
    *(b'"completed"', b'"\xff"', b'"{\\"usage\\":1}"', b'", \\"usage\\": 1"'),
]
BLANKS = [b"", b"", b" ", b"\t ", b"\r\n"]
LINE_ENDS = [b"\n", b"\n", b"\r\n", b"\r"]


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
        spelling = self.byte() % 4
        cuts = [self.byte() | self.byte() << 8 for _ in range(self.byte() % 8)]
        if spelling == 0:
            body = self._data[self._at :]
        elif spelling == 1:
            body = b"".join(TOKENS[byte % len(TOKENS)] for byte in self._data[self._at :])
        else:
            body = self._object(0) if spelling == 2 else self._events()
        body = body[:BODY_BYTES_MAX]
        return body, pieces(body, cuts)

    def _events(self) -> bytes:
        parts: list[bytes] = []
        while self._at < len(self._data):
            end = self.one_of(LINE_ENDS)
            match self.byte() % 8:
                case 0:
                    parts += [b": comment", end]
                case 1:
                    parts += [b"data: [DONE]", end, end]
                case 2:
                    parts += [b"event: error", end]
                case 3:
                    parts += [b"data: ", self._object(0).replace(b",", b"," + end + b"data: ", 1), end, end]
                case _:
                    parts += [b"data: ", self._object(0), end, end]
        return b"".join(parts)

    def _object(self, depth: int) -> bytes:
        blank: bytes = self.one_of(BLANKS)
        members = [
            b'"%b"%b:%b%b' % (self.one_of(NAMES), blank, blank, self._value(depth + 1)) for _ in range(self.byte() % 5)
        ]
        return b"{" + (b"," + blank).join(members) + blank + b"}"

    def _value(self, depth: int) -> bytes:
        kind = self.byte() % 8
        if kind < 3 and depth < 5:
            if kind < 2:
                return self._object(depth)
            return b"[" + b",".join(self._value(depth + 1) for _ in range(self.byte() % 3)) + b"]"
        scalar: bytes = self.one_of(SCALARS)
        return scalar


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """A body cut at these places (modulo its length), or byte by byte where there are none and it is short."""
    if not cuts and len(body) <= 400:
        return [bytes([byte]) for byte in body]
    edges = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    return [body[begin:end] for begin, end in itertools.pairwise(edges)]
