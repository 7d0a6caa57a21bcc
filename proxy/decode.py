"""Content codings undone on a copy of the bytes, piece by piece: gzip, deflate, br, zstd, and stacks of them.

Lenient where clients are: several gzip members, padding after the last, deflate with and without its zlib wrapper
(RFC 9110 section 8.4.1.2 says with, servers send both). Strict on size: a piece is bounded, and so is the sum.
Both brotli 1.1 (python 3.11 here) and 1.2 work; only the latter can be told to stop, so 1.1 is fed in small slices.

Never here: the bytes that the client gets. They are what upstream sent; a copy that cannot be decoded is only read
no further.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli
import zstandard

DECODED_BYTES_MAX = 1024 * 1024 * 1024
"""More than this out of one body is taken for a decompression bomb."""
CODINGS_MAX = 4
_PIECE_BYTES = 256 * 1024
_SLICE_BYTES = 256
"""Fed at once to a decoder that cannot be told to stop: a zstd block of 128 KiB needs four bytes."""
_ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024
"""RFC 9659 (zstd as a content coding): encoders must not use a larger window."""


class DecodeError(Exception):
    """A body that cannot be decoded; `why` is one word for the row, such as `broken_gzip`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Coding(Protocol):
    def pieces(self, data: bytes) -> Iterator[bytes]: ...

    def whole(self) -> bool: ...


class Decoder:
    """One body's codings, undone in the reverse of the order in which `content_encoding` lists them.

    Raises `DecodeError` at once where a coding is not known.
    """

    def __init__(self, content_encoding: str | None, *, decoded_bytes_max: int = DECODED_BYTES_MAX) -> None:
        names = [name.strip().lower() for name in (content_encoding or "").split(",")]
        names = [name for name in names if name not in ("", "identity")]
        if len(names) > CODINGS_MAX:
            raise DecodeError("too_many_encodings")
        self._codings = [_coding(name) for name in reversed(names)]
        self._names = names[::-1]
        self._decoded_bytes_max = decoded_bytes_max
        self.decoded_bytes = 0
        """Bytes out so far."""

    @property
    def identity(self) -> bool:
        """Whether bytes come out as they go in."""
        return not self._codings

    def feed(self, data: bytes) -> bytes:
        """All that `data` decodes to. Raises `DecodeError`. `pieces` gives the same in bounded memory."""
        return b"".join(self.pieces(data))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to, in pieces of some hundred KiB. Raises `DecodeError`."""
        for piece in self._through(data, 0):
            self.decoded_bytes += len(piece)
            if self.decoded_bytes > self._decoded_bytes_max:
                raise DecodeError("decoded_too_large")
            yield piece

    def close(self) -> None:
        """Say that the body has ended. Raises `DecodeError` if a coding has not."""
        for coding, name in zip(self._codings, self._names, strict=True):
            if not coding.whole():
                raise DecodeError(f"truncated_{name}")

    def _through(self, data: bytes, index: int) -> Iterator[bytes]:
        if index == len(self._codings):
            if data:
                yield data
            return
        try:
            for piece in self._codings[index].pieces(data):
                yield from self._through(piece, index + 1)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise DecodeError(f"broken_{self._names[index]}") from error


def _coding(name: str) -> _Coding:
    match name:
        case "gzip" | "x-gzip":
            return _Gzip()
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            raise DecodeError("unknown_encoding")


class _Gzip:
    """One or more gzip members; what follows the last and is no member is padding."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._begun = False
        self._ended = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ended:
            if self._inflate.eof:
                if data[0] != 0x1F:
                    self._ended = True
                    return
                self._inflate = zlib.decompressobj(wbits=31)
            self._begun = True
            yield self._inflate.decompress(data, _PIECE_BYTES)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def whole(self) -> bool:
        return self._inflate.eof or not self._begun


class _Deflate:
    """A zlib stream, or the raw deflate stream that some servers send under the same name."""

    def __init__(self) -> None:
        self._head = b""
        self._inflate: zlib._Decompress | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            self._head += data
            if len(self._head) < 2:
                return
            # RFC 1950 section 2.2: method 8, and the first two bytes are a multiple of 31.
            wrapped = self._head[0] & 0x0F == 8 and int.from_bytes(self._head[:2], "big") % 31 == 0
            self._inflate = zlib.decompressobj(wbits=15 if wrapped else -15)
            data, self._head = self._head, b""
        while data and not self._inflate.eof:
            yield self._inflate.decompress(data, _PIECE_BYTES)
            data = self._inflate.unconsumed_tail

    def whole(self) -> bool:
        return not self._head and (self._inflate is None or self._inflate.eof)


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._bounded = hasattr(self._decompressor, "can_accept_more_data")  # since brotli 1.2
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        if not self._bounded:
            for start in range(0, len(data), _SLICE_BYTES):
                yield from _cut(self._decompressor.process(data[start : start + _SLICE_BYTES]))
            return
        # `can_accept_more_data` turns true while there is still output to fetch; only an empty piece says it is all.
        while piece := self._decompressor.process(data, output_buffer_limit=_PIECE_BYTES):
            data = b""
            yield piece

    def whole(self) -> bool:
        return not self._begun or bool(self._decompressor.is_finished())


class _Zstd:
    """One or more zstd frames."""

    def __init__(self) -> None:
        self._inflate = self._open()
        self._begun = False

    def _open(self) -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).decompressobj()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SLICE_BYTES):
            part = data[start : start + _SLICE_BYTES]
            while part:
                if self._inflate.eof:
                    self._inflate = self._open()
                self._begun = True
                yield from _cut(self._inflate.decompress(part))
                part = self._inflate.unused_data if self._inflate.eof else b""

    def whole(self) -> bool:
        return self._inflate.eof or not self._begun


def _cut(data: bytes) -> Iterator[bytes]:
    """Decoded bytes in pieces of a bounded size."""
    if len(data) <= _PIECE_BYTES:
        yield data
        return
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
