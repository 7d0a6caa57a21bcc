"""What was found by attacking the lane: each is a case that once hung, stalled or was refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lane_play import Wire, lane_to, play
from test_proxy_lane import GET, METERED, POST, WHOLE, answering, told
from test_proxy_lane_sockets import HANDSHAKE, SWITCH

from submeter.proxy.door import Held
from submeter.proxy.lane import NearSide


def test_a_client_that_sends_much_ahead_of_its_101_is_heard_to_the_end(tmp_path: Path) -> None:
    ahead = bytes(400 * 1024)

    async def part(wire: Wire) -> None:
        await wire.hear()
        await stopped.wait()
        wire.say(SWITCH + b"\r\n")
        assert await wire.hear_bytes(len(ahead)) == ahead
        wire.say(b"!")
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(HANDSHAKE, ahead)
            [near] = await _open(lane.server._open)
            await lane.until(lambda: near._out.is_stopped_by("ahead"))
            stopped.set()
            assert await client.hear() == SWITCH + b"\r\n"
            assert await client.hear_bytes(1) == b"!"

    stopped = asyncio.Event()
    play(scene())


async def _open(held: set[Held]) -> list[NearSide]:
    while not held:
        await asyncio.sleep(0)
    return [near for near in held if isinstance(near, NearSide)]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_empty_lines_before_a_request_are_skipped_wherever_they_are_cut(tmp_path: Path, cut: int) -> None:
    raw = b"\r\n\r\n" + POST

    async def scene() -> None:
        async with lane_to(tmp_path, answering(WHOLE)) as lane:
            client = await lane.connect()
            client.say(raw[:cut])
            [near] = await _open(lane.server._open)
            moved_at = near.moved_at
            await lane.until(lambda: near.moved_at > moved_at)
            client.say(raw[cut:])
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
            assert told(lane) == [METERED]

    play(scene())


@pytest.mark.parametrize(
    ("offered", "passes"),
    [
        (b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", False),
        (b"Upgrade: websocket\r\n", True),
        (b"Upgrade: something-else\r\n", True),
    ],
)
def test_an_offer_to_go_on_in_http2_is_for_us_and_does_not_reach_the_upstream(
    tmp_path: Path, offered: bytes, passes: bool
) -> None:
    heard: list[bytes] = []

    async def part(wire: Wire) -> None:
        heard.append(await wire.hear())
        wire.say(WHOLE)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part) as lane:
            client = await lane.connect()
            client.say(GET[:-2] + b"X-Before: 1\r\n" + offered + b"X-After: 2\r\n\r\n")
            assert await client.hear_bytes(len(WHOLE)) == WHOLE
        [head] = heard
        between = offered if passes else b""
        assert head.endswith(b"X-Before: 1\r\n" + between + b"X-After: 2\r\n\r\n")

    play(scene())
