"""Every recorded exchange through the meter alone: whole, byte by byte, at random cuts, and compressed.

The recordings are real traffic of api.openai.com with a label made by another program; they lie outside this
repository. `SUBMETER_TESTS=deep` takes longer bodies byte by byte.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import brotli
import orjson
import pytest
import zstandard

from submeter.data.call import Flag, Usage
from submeter.proxy.endpoint import Endpoint, find_endpoint
from submeter.proxy.meter import Meter, Reading

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "public.jsonl.gz"
EXCHANGES = 3852
BYTE_BY_BYTE_MAX = 100_000 if os.environ.get("SUBMETER_TESTS") == "deep" else 6_000
SEED = 20_261_122

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One recorded exchange as the meter sees it, and its label."""

    source: str
    endpoint: Endpoint
    status_code: int
    content_type: str | None
    content_encoding: str | None
    body: bytes
    kind: str
    usage: dict[str, Any] | None
    normalized: dict[str, Any] | None
    model: str | None
    response_id: str | None

    def meter(self, content_encoding: str | None = None) -> Meter:
        return Meter(
            self.endpoint,
            status_code=self.status_code,
            content_type=self.content_type,
            content_encoding=content_encoding or self.content_encoding,
        )


@cache
def exchanges() -> tuple[Exchange, ...]:
    with gzip.open(RECORDINGS) as lines:
        return tuple(_exchange(json.loads(line)) for line in lines)


def _exchange(record: dict[str, Any]) -> Exchange:
    request, response, label = record["request"], record["response"], record["expected"]
    headers = response["headers"]
    body = response["body"].encode() if "body" in response else base64.b64decode(response.get("body_b64") or "")
    return Exchange(
        source=record["source"],
        endpoint=find_endpoint(request["method"], request["path"].partition("?")[0]),
        status_code=response["status"],
        content_type=headers.get("content-type"),
        content_encoding=headers.get("content-encoding"),
        body=body,
        kind=label["kind"],
        usage=label["usage"],
        normalized=label["normalized"],
        model=label["model"],
        response_id=label["id"],
    )


def cuts(body: bytes, seed: str) -> Iterator[bytes]:
    """The body in pieces cut at seeded random places."""
    dice = random.Random(f"{SEED}/{seed}")
    at = 0
    while at < len(body):
        size = dice.choice((1, 2, 7, 50, 300, 1500, 20_000))
        yield body[at : at + size]
        at += size


def verbatim(usage: Any) -> Any:
    """The usage as a journal line would hold it."""
    return json.loads(orjson.dumps(usage))


def read(meter: Meter, chunks: Iterator[bytes] | list[bytes]) -> tuple[Reading, list[Reading]]:
    """The last reading, and the readings at each moment that the meter called complete."""
    complete = [meter.reading() for chunk in chunks if meter.feed(chunk)]
    meter.finish()
    return meter.reading(), complete


def test_every_exchange_is_here() -> None:
    assert len(exchanges()) == EXCHANGES


def test_usage_equals_the_label_for_every_exchange() -> None:
    wrong = [
        exchange.source
        for exchange in exchanges()
        if verbatim(read(exchange.meter(), [exchange.body])[0].usage) != exchange.usage
    ]
    assert wrong == []


def test_counts_equal_the_labels_flattened_counts() -> None:
    names = {
        "input": "input_tokens",
        "output": "output_tokens",
        "total": "total_tokens",
        "cached_input": "cached_input_tokens",
        "cache_write_input": "cache_write_tokens",
        "audio_input": "input_audio_tokens",
        "image_input": "input_image_tokens",
        "text_input": "input_text_tokens",
        "reasoning_output": "reasoning_tokens",
        "audio_output": "output_audio_tokens",
        "image_output": "output_image_tokens",
        "text_output": "output_text_tokens",
        "seconds": "seconds",
    }
    wrong = []
    for exchange in exchanges():
        reading, _ = read(exchange.meter(), [exchange.body])
        counts: Usage = reading.usage_counts
        normalized = exchange.normalized or dict.fromkeys(names)
        if any(getattr(counts, ours) != normalized[theirs] for theirs, ours in names.items()):
            wrong.append(exchange.source)
    assert wrong == []


def test_model_and_id_equal_the_label_or_were_said_by_an_earlier_event() -> None:
    """One recorded terminal event leaves model and id out; the label then has none, we keep what came before."""
    wrong: list[str] = []
    kept: list[str] = []
    for exchange in exchanges():
        reading, _ = read(exchange.meter(), [exchange.body])
        for said, label in ((reading.response_model, exchange.model), (reading.response_id, exchange.response_id)):
            if said != label:
                (kept if label is None and reading.streamed else wrong).append(exchange.source)
    assert wrong == []
    assert len(set(kept)) == 1


def test_random_cuts_change_nothing() -> None:
    wrong = []
    for exchange in exchanges():
        whole, _ = read(exchange.meter(), [exchange.body])
        pieces, _ = read(exchange.meter(), cuts(exchange.body, exchange.source))
        if pieces != whole:
            wrong.append(exchange.source)
    assert wrong == []


def test_byte_by_byte_changes_nothing() -> None:
    wrong, tried = [], 0
    for exchange in exchanges():
        if len(exchange.body) > BYTE_BY_BYTE_MAX:
            continue
        tried += 1
        whole, _ = read(exchange.meter(), [exchange.body])
        single, _ = read(exchange.meter(), [exchange.body[at : at + 1] for at in range(len(exchange.body))])
        if single != whole:
            wrong.append(exchange.source)
    assert wrong == []
    assert tried > 3000


def test_compressed_on_the_way_it_reads_the_same() -> None:
    """The corpus holds no compressed stream; this makes one of each coding of every stream."""
    encoders = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}
    wrong = []
    for number, exchange in enumerate(exchanges()):
        if exchange.kind != "sse" or len(exchange.body) > 50_000:
            continue
        coding = sorted(encoders)[number % len(encoders)]
        whole, _ = read(exchange.meter(), [exchange.body])
        data = brotli.compress(exchange.body, quality=1) if coding == "br" else encoders[coding](exchange.body)
        packed, complete = read(exchange.meter(coding), cuts(data, exchange.source))
        if packed != whole or [reading.usage for reading in complete] not in ([], [whole.usage]):
            wrong.append((coding, exchange.source))
    assert wrong == []


def test_a_stream_is_complete_once_and_never_before_its_usage_is_known() -> None:
    early: list[str] = []
    never: list[Reading] = []
    for exchange in exchanges():
        reading, complete = read(exchange.meter(), cuts(exchange.body, exchange.source))
        assert len(complete) <= 1, exchange.source
        if any(verbatim(moment.usage) != exchange.usage for moment in complete):
            early.append(exchange.source)
        if exchange.kind == "sse" and not complete:
            never.append(reading)
        assert exchange.kind == "sse" or not complete, exchange.source
    # Two fixtures of one repository string several answers together in one body, each with an end of its own; no
    # answer on the wire does, and the label is the last one's usage.
    assert [source.partition("@")[0] for source in early] == ["vercel/ai"] * 2
    # One stream breaks off; none of the others lacks its end.
    assert [(reading.complete, reading.flags) for reading in never] == [(False, (Flag.NO_TERMINAL,))]


def test_a_truncated_body_has_no_usage_and_says_why() -> None:
    dice = random.Random(SEED)
    for exchange in exchanges():
        if exchange.kind != "json" or exchange.content_encoding is not None or len(exchange.body) < 10:
            continue
        cut = dice.randrange(1, len(exchange.body.rstrip()))
        reading, _ = read(exchange.meter(), [exchange.body[:cut]])
        assert (reading.usage, reading.complete, reading.usage_counts) == (None, False, Usage()), exchange.source
        if exchange.content_type != "text/plain":
            assert reading.unreadable == "truncated_json", exchange.source


def test_what_has_a_usage_is_readable_and_whole() -> None:
    for exchange in exchanges():
        reading, _ = read(exchange.meter(), [exchange.body])
        if exchange.usage is not None:
            assert (reading.unreadable, reading.complete) == (None, True), exchange.source
