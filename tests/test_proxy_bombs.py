"""A small compressed body that decodes to a great deal: no number of it is believed, and no other call waits for it."""

from __future__ import annotations

import gzip
from pathlib import Path
from time import thread_time

import brotli
import pytest
import zstandard
from test_proxy_tap import JSON, calls, chat, proxied
from wire import RawRequest, exchange, framed

from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.meter import Meter, Reading
from submeter.proxy.request_body import RequestReader

CHAT = find_endpoint("POST", "/v1/chat/completions")
BOMB = b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "a": [' + b'{"a":1},' * 2_500_000
EVENT = b'data: {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 1}}\n\n'
ENCODE = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=5), "zstd": zstandard.compress}


def read(body: bytes, content_type: str, coding: str) -> Reading:
    meter = Meter(CHAT, status_code=200, content_type=content_type, content_encoding=coding)
    for begin in range(0, len(body), 65_536):
        meter.feed(body[begin : begin + 65_536])
    meter.finish()
    return meter.reading()


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_costs_less_than_reading_it_would_and_no_number_of_it_is_believed(coding: str) -> None:
    body = ENCODE[coding](BOMB)
    began = thread_time()
    reading = read(body, "application/json", coding)
    # Read to its end it takes two seconds; up to the limit and parsed, half of one.
    assert thread_time() - began < 0.25
    assert (reading.unreadable, reading.usage, reading.response_model) == ("decoded_too_large", None, None)


@pytest.mark.parametrize("ends", [b"", b"data: [DONE]\n\n"])
def test_a_stream_that_turns_into_a_bomb_is_unreadable_though_usage_came_before_it(ends: bytes) -> None:
    reading = read(gzip.compress(EVENT + b": " + b"a" * 8_000_000 + b"\n\n" + ends), "text/event-stream", "gzip")
    assert (reading.unreadable, reading.usage, reading.streamed) == ("decoded_too_large", None, True)


def test_a_stream_that_was_whole_before_it_became_a_bomb_keeps_its_usage() -> None:
    whole = gzip.compress(EVENT + b"data: [DONE]\n\n")
    meter = Meter(CHAT, status_code=200, content_type="text/event-stream", content_encoding="gzip")
    assert meter.feed(whole)
    meter.feed(gzip.compress(b"a" * 8_000_000))
    assert (meter.reading().unreadable, meter.reading().usage) == (None, {"prompt_tokens": 1})


def test_a_request_that_is_a_bomb_tells_nothing() -> None:
    reader = RequestReader("application/json", "gzip")
    reader.feed(gzip.compress(b'{"model": "gpt-4o", "a": [' + b'{"a":1},' * 1_000_000))
    facts = reader.facts()
    assert (facts.model, facts.unreadable) == (None, "decoded_too_large")


def test_a_bomb_passes_byte_for_byte_and_its_row_is_unreadable(tmp_path: Path) -> None:
    bomb = gzip.compress(BOMB)
    headers = {**JSON, "Content-Encoding": "gzip"}

    async def answer(request: RawRequest, reader: object, writer: object) -> bool:
        for piece in framed(200, headers, bomb):
            writer.write(piece)  # type: ignore[attr-defined]
        return True

    with proxied(tmp_path, answer) as (port, _, ledger):
        assert exchange(port, chat()).body == bomb
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["input_tokens"]) == ("unreadable", "unknown", None)
    assert call["error"] == "decoded_too_large"
