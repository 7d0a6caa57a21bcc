"""Recorded answers in every framing and cut anywhere: each byte that the upstream sent reaches the client as it was.

A sample of them by default; all of them with `SUBMETER_TESTS=deep`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lane_play import Wire, lane_to
from test_proxy_recordings_on_the_wire import RECORDINGS, body_of, recorded, request_of

SEED = 20261129
SAMPLE = 250
PER_CONNECTION = 40
SCENE_S_MAX = 900.0
_OURS_TO_SAY = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding", "trailer"})


def chunks_of(body: bytes, chance: random.Random) -> bytes:
    """The body in chunks of any sizes, spelled in all the ways that RFC 9112 allows."""
    out, at = [], 0
    while at < len(body):
        size = min(chance.choice([1, 2, 7, 100, 4096, 70_000]), len(body) - at)
        spelled = b"0" * chance.choice([0, 0, 2]) + (b"%x" if chance.random() < 0.5 else b"%X") % size
        extension = chance.choice([b"", b"", b";a", b' ; b="c;d"'])
        out.append(spelled + extension + b"\r\n" + body[at : at + size] + b"\r\n")
        at += size
    trailer = chance.choice([b"", b"", b"X-Checksum: 1\r\nServer-Timing: total;dur=1\r\n"])
    return b"".join(out) + chance.choice([b"0", b"000", b"0;last"]) + b"\r\n" + trailer + b"\r\n"


def answer_of(exchange: dict[str, Any], chance: random.Random) -> bytes:
    """The recorded answer as bytes, in a framing by chance, behind a 1xx now and then."""
    response, body = exchange["response"], body_of(exchange["response"])
    fields = [
        f"{name}: {value}\r\n".encode()
        for name, value in response["headers"].items()
        if name.lower() not in _OURS_TO_SAY
    ]
    early = chance.choice([b"", b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"])
    head = early + b"HTTP/1.1 %d A  Reason\r\n" % response["status"] + b"".join(fields)
    if response["status"] in (204, 304) or exchange["request"]["method"] == "HEAD":
        return head + b"\r\n"
    if chance.random() < 0.4:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks_of(body, chance)


def pieces_of(raw: bytes, chance: random.Random) -> list[bytes]:
    if chance.random() < 0.25:
        return [raw]
    cuts = sorted(chance.randrange(len(raw) + 1) for _ in range(chance.choice([1, 3, 12])))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")
def test_every_byte_of_an_answer_s_framing_reaches_the_client(tmp_path: Path) -> None:
    exchanges, chance = recorded(), random.Random(SEED)
    every = range(len(exchanges))
    chosen = list(every) if os.environ.get("SUBMETER_TESTS") == "deep" else sorted(chance.sample(every, SAMPLE))
    requests = {index: request_of(index, exchanges[index]) for index in chosen}
    answers = {index: answer_of(exchanges[index], chance) for index in chosen}
    asked: set[int] = set()

    async def part(wire: Wire) -> None:
        while True:
            request = await wire.hear_request()
            index = int(request.lower().split(b"x-replay: ")[1].split(b"\r\n")[0])
            if request.partition(b"\r\n\r\n")[2] != requests[index].partition(b"\r\n\r\n")[2]:
                asked.add(index)
                # Its usage is taken out again, so its framing is ours: test_proxy_recordings_on_the_wire has these.
                wire.say(b"HTTP/1.1 204 No Content\r\n\r\n")
                continue
            for piece in pieces_of(answers[index], chance):
                wire.say(piece)
                await wire.writer.drain()
                await asyncio.sleep(0)

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            for at in range(0, len(chosen), PER_CONNECTION):
                client = await lane.connect()
                for index in chosen[at : at + PER_CONNECTION]:
                    client.say(requests[index])
                    if (beginning := await client.hear_bytes(13)) == b"HTTP/1.1 204 " and index in asked:
                        await client.hear()
                        continue
                    heard = beginning + await client.hear_bytes(len(answers[index]) - 13)
                    assert heard == answers[index], index
            rows = lane.lines()
        assert Counter(int(row["step"]) for row in rows) == Counter(chosen)
        print(f"{len(chosen) - len(asked)} answers compared byte for byte, {len(asked)} asked for their usage")

    asyncio.run(asyncio.wait_for(scene(), SCENE_S_MAX))
    assert len(asked) < len(chosen) / 2
