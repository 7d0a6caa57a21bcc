"""Content codings undone on a copy of the bytes, piece by piece: gzip, deflate, br, zstd, and stacks of them.

Lenient where clients are: several gzip members, padding after the last, deflate with and without its zlib wrapper
(RFC 9110 section 8.4.1.2 says with, servers send both). Strict on size: a piece is bounded, and what a body may decode
to is bounded by the bytes that came, because all of it is read while other calls wait. Both brotli 1.1 (python 3.11
here) and 1.2 work; only the latter can be told to stop, so 1.1 is fed in small slices.

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
FREE_BYTES = 4 * 1024 * 1024
"""What any body may decode to, however few bytes it came in."""
RATIO_MAX = 128
"""Beyond that, decoded bytes for each byte that came. A stream of chat completions' small events, the most repetitive
of honest bodies, was measured at 74 (gzip) to 112 (brotli); a gzip bomb reaches 1,032, one of brotli 400,000."""
TOO_LARGE = "decoded_too_large"
MEMBER_BYTES = 4096
"""What beginning another gzip member or zstd frame is reckoned at: it takes as long as decoding some KiB."""
CODINGS_MAX = 4
_PIECE_BYTES = 256 * 1024
_SLICE_BYTES = 256
"""Fed at once to zstd, which cannot be told to stop: a block of 128 KiB needs four bytes."""
_BROTLI_SLICE_BYTES = 32
"""The same for brotli 1.1, of which 256 bytes held 160 MiB, and these hold 24."""
_INFLATE_SLICE_BYTES = 64 * 1024
"""zlib hands the rest of its input back with every piece, so it is not given megabytes of it."""
_ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024
"""RFC 9659 (zstd as a content coding): encoders must not use a larger window."""


class DecodeError(Exception):
    """A body that cannot be decoded; `why` is one word for the row, such as `broken_gzip`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Coding(Protocol):
    members: int
    """Members or frames begun after another since this was last set to 0."""

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
        self._bytes = 0
        self._worked_bytes = 0
        """Bytes out of every coding, also of those whose output another coding takes in, and for members."""
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
        """What `data` decodes to, in pieces of some hundred KiB. Raises `DecodeError`, which ends the decoding."""
        self._bytes += len(data)
        for piece in self._through(data, 0):
            self.decoded_bytes += len(piece)
            yield piece

    def read(self, data: bytes) -> tuple[list[bytes], str | None]:
        """What `data` decodes to, and why no more of the body can be decoded, if that is so.

        Of a body that turns out too large there are no pieces: reading them costs ten times what decoding them did,
        and it would be for nothing.
        """
        pieces: list[bytes] = []
        try:
            pieces.extend(self.pieces(data))
        except DecodeError as error:
            return [] if error.why == TOO_LARGE else pieces, error.why
        return pieces, None

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
            coding = self._codings[index]
            for piece in coding.pieces(data):
                self._worked_bytes += len(piece) + MEMBER_BYTES * coding.members
                coding.members = 0
                if self._worked_bytes > min(self._decoded_bytes_max, FREE_BYTES + RATIO_MAX * self._bytes):
                    raise DecodeError(TOO_LARGE)
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
        self.members = 0
        self._inflate = zlib.decompressobj(wbits=31)
        self._begun = False
        self._ended = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _INFLATE_SLICE_BYTES):
            yield from self._slice(data[start : start + _INFLATE_SLICE_BYTES])

    def _slice(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ended:
            if self._inflate.eof:
                if data[0] != 0x1F:
                    self._ended = True
                    return
                self._inflate = zlib.decompressobj(wbits=31)
                self.members += 1
            self._begun = True
            yield self._inflate.decompress(data, _PIECE_BYTES)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def whole(self) -> bool:
        return self._inflate.eof or not self._begun


class _Deflate:
    """A zlib stream, or the raw deflate stream that some servers send under the same name."""

    def __init__(self) -> None:
        self.members = 0
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
        for start in range(0, len(data), _INFLATE_SLICE_BYTES):
            part = data[start : start + _INFLATE_SLICE_BYTES]
            while part and not self._inflate.eof:
                yield self._inflate.decompress(part, _PIECE_BYTES)
                part = self._inflate.unconsumed_tail

    def whole(self) -> bool:
        return not self._head and (self._inflate is None or self._inflate.eof)


class _Brotli:
    def __init__(self) -> None:
        self.members = 0
        self._decompressor = brotli.Decompressor()
        self._bounded = hasattr(self._decompressor, "can_accept_more_data")  # since brotli 1.2
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        if not self._bounded:
            for start in range(0, len(data), _BROTLI_SLICE_BYTES):
                yield from _cut(self._decompressor.process(data[start : start + _BROTLI_SLICE_BYTES]))
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
        self.members = 0
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
                    self.members += 1
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
