"""A proxy told to stop while 50 streams run: those that end in time are whole, the rest are cut, and each is a row."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from proxy_process import proxy_before
from test_proxy_tap import CHAT, SECRET, USAGE, calls, chat, sse
from wire import RawRequest, RawResponse, read_head, read_response, serving

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger

STREAMS = 50
ENDING = 20
"""So many end once the proxy has been told to stop; the others never do."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_50_open_streams_leaves_50_rows(tmp_path: Path, number: signal.Signals) -> None:
    told_to_stop = threading.Event()

    async def streaming(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        mine = int(request.header("x-stream") or "")
        head = {"id": f"chatcmpl-{mine}", "object": "chat.completion.chunk", "model": "m"}
        word = sse({**head, "choices": [{"index": 0, "delta": {"content": "word "}}], "usage": None})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while mine >= ENDING or not told_to_stop.is_set():
            writer.write(b"%x\r\n%b\r\n" % (len(word), word))
            await writer.drain()
            await asyncio.sleep(0.02)
        usage = {**USAGE, "prompt_tokens": 100 + mine, "total_tokens": 100 + mine + USAGE["completion_tokens"]}
        last = sse({**head, "choices": [], "usage": usage}, b"[DONE]")
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        return True

    async def everything() -> list[RawResponse]:
        started = [asyncio.Event() for _ in range(STREAMS)]

        async def client(mine: int) -> RawResponse:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
            target = f"/run/r-1/step/{mine}/v1/chat/completions"
            writer.write(chat(target, body=body, headers={"X-Stream": str(mine)}))
            seen = await read_head(reader) + b"\r\n\r\n" + await reader.readuntil(b"word ")
            started[mine].set()
            rest = asyncio.StreamReader(limit=2**26)
            rest.feed_data(seen + await reader.read())
            rest.feed_eof()
            writer.close()
            return await read_response(rest)

        async def stopper() -> int:
            for one in started:
                await one.wait()
            proxy.tell(number)
            told_to_stop.set()
            return await asyncio.to_thread(proxy.end)

        stopped = asyncio.create_task(stopper())
        answers = await asyncio.gather(*(client(mine) for mine in range(STREAMS)))
        assert await stopped == 0
        return answers

    ledger = tmp_path / "submeter.duckdb"
    with serving(streaming) as upstream, proxy_before(ledger, upstream.url, SECRET, "--drain", "2") as proxy:
        answers = asyncio.run(everything())
    for mine, answer in enumerate(answers):
        assert answer.whole is answer.body.endswith(b"data: [DONE]\n\n") is (mine < ENDING)
    rows = {int(row["step"]): row for row in calls(ledger)}
    assert sorted(rows) == list(range(STREAMS))
    assert Counter(row["outcome"] for row in rows.values()) == {"metered": ENDING, "aborted": STREAMS - ENDING}
    for mine, row in rows.items():
        assert (row["response_id"], row["streamed"], row["status_code"]) == (f"chatcmpl-{mine}", True, 200)
        if mine < ENDING:
            assert (row["standing"], row["input_tokens"]) == ("counted", 100 + mine)
            assert json.loads(row["usage"])["prompt_tokens"] == 100 + mine
        else:
            assert (row["standing"], row["input_tokens"]) == ("unknown", None)
            assert row["error"] == "the proxy was stopped"
    opened = Ledger(ledger, clock=SystemClock())
    whys = opened.query("SELECT why, count(*) FROM unknown_calls GROUP BY why").rows
    assert whys == [("the proxy was stopped before the usage came", STREAMS - ENDING)]
    assert opened.check().clean
