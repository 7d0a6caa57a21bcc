"""Content codings undone on a copy."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from submeter.proxy.decode import FREE_BYTES, DecodeError, Decoder

TEXT = b"".join(b'{"n":%d}' % number for number in range(2000))


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def brotli_fast(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=5))


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("identity", bytes),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    ("zstd,identity , GZIP", lambda data: gzip.compress(zstandard.compress(data))),
]


def decoded(content_encoding: str | None, chunks: list[bytes]) -> bytes:
    decoder = Decoder(content_encoding)
    out = b"".join([decoder.feed(chunk) for chunk in chunks])
    decoder.close()
    assert decoder.decoded_bytes == len(out)
    return out


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_a_coding_is_undone_whole_byte_by_byte_and_at_random_cuts(name: str, encode: Callable[[bytes], bytes]) -> None:
    data = encode(TEXT)
    assert decoded(name, [data]) == TEXT
    assert decoded(name, [bytes([byte]) for byte in data]) == TEXT
    cuts = sorted(random.Random(1).sample(range(len(data)), 5))
    assert decoded(name, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == TEXT


@pytest.mark.parametrize(("name", "encode"), [coding for coding in CODINGS if coding[0] != "identity"])
def test_a_body_cut_short_says_so_at_the_end(name: str, encode: Callable[[bytes], bytes]) -> None:
    decoder = Decoder(name)
    data = encode(TEXT)
    decoder.feed(data[:-9])
    with pytest.raises(DecodeError) as caught:
        decoder.close()
    assert caught.value.why.startswith("truncated_")


def test_no_encoding_and_an_empty_body_are_fine() -> None:
    assert decoded(None, [b"abc"]) == b"abc"
    assert Decoder("").identity
    for name, _ in CODINGS:
        assert decoded(name, []) == b""


def test_several_members_follow_one_another_and_padding_ends_them() -> None:
    assert decoded("gzip", [gzip.compress(b"a") + gzip.compress(b"b")]) == b"ab"
    assert decoded("gzip", [gzip.compress(b"a") + b"\0\0\0", b"\0"]) == b"a"
    assert decoded("zstd", [zstandard.compress(b"a") + zstandard.compress(b"b")]) == b"ab"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_garbage_is_a_typed_error(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoded(name, [b"this was never compressed by anyone"])
    assert caught.value.why == f"broken_{name}"


@pytest.mark.parametrize("name", ["lzma", "gzip, compress", "br;q=1"])
def test_an_unknown_coding_is_a_typed_error_at_once(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder(name)
    assert caught.value.why == "unknown_encoding"


def test_a_tower_of_codings_is_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder("gzip, gzip, gzip, gzip, gzip")
    assert caught.value.why == "too_many_encodings"


@pytest.mark.parametrize(
    ("name", "encode"), [coding for coding in CODINGS if coding[0] not in ("identity", "gzip, br")]
)
def test_a_bomb_stops_at_the_limit_and_never_comes_in_one_piece(name: str, encode: Callable[[bytes], bytes]) -> None:
    decoder = Decoder(name, decoded_bytes_max=2_000_000)
    sizes: list[int] = []
    bomb = encode(b"\0" * 12_000_000)
    with pytest.raises(DecodeError, match="decoded_too_large"):
        sizes.extend(len(piece) for piece in decoder.pieces(bomb))
    assert max(sizes) <= 1024 * 1024


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_what_a_body_may_decode_to_grows_with_the_bytes_that_came(name: str) -> None:
    encode = brotli_fast if name == "br" else dict(CODINGS)[name]
    honest = encode(b"".join(b'data: {"id":"chatcmpl-1","n":%d}\n\n' % number for number in range(150_000)))
    pieces, problem = Decoder(name).read(honest)
    assert problem is None
    assert sum(map(len, pieces)) > FREE_BYTES

    repeated = encode(b"a" * 8_000_000)
    assert Decoder(name).read(repeated) == ([], "decoded_too_large")


def test_the_free_allowance_does_not_depend_on_how_few_bytes_came() -> None:
    assert Decoder("zstd").read(zstandard.compress(b"a" * FREE_BYTES))[1] is None
    assert Decoder("zstd").read(zstandard.compress(b"a" * (FREE_BYTES + 400_000)))[1] == "decoded_too_large"


def test_members_that_come_to_nothing_are_work_too() -> None:
    # An empty zstd frame has 9 bytes and takes as long to begin as any; gzip makes many of them out of little.
    frames = zstandard.compress(b"") * 2_000
    assert Decoder("zstd, gzip").read(gzip.compress(frames)) == ([], "decoded_too_large")
    assert Decoder("zstd").read(b"".join(zstandard.compress(b"%d" % n * 30) for n in range(2_000)))[1] is None


def test_a_broken_body_gives_what_it_held_before_the_break() -> None:
    data = random.Random(1).randbytes(1_000_000)
    pieces, problem = Decoder("gzip").read(gzip.compress(data)[:-8] + b"\0" * 8)
    assert problem == "broken_gzip"
    assert pieces
    assert data.startswith(b"".join(pieces))


@given(st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, zstd"]), st.lists(st.binary(max_size=60), max_size=4))
def test_garbage_raises_nothing_but_the_typed_error(name: str, chunks: list[bytes]) -> None:
    with contextlib.suppress(DecodeError):
        decoded(name, chunks)
