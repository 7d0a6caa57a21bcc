"""What we change in the engine: each change does its work, and all are gone when the engine has ended."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.exceptions import AddonHalt
from mitmproxy.hooks import RunningHook, UpdateHook
from mitmproxy.options import Options
from mitmproxy.proxy import mode_servers
from mitmproxy.proxy.commands import CloseConnection, Command, SendData
from mitmproxy.proxy.events import Event, Start
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers import websocket

from submeter.proxy.engine_changes import LeanMaster, OneWrite, engine_changed

CLIENT = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
SERVER = Server(address=("127.0.0.1", 3))


class Scripted:
    """Stands where the engine's top layer would, and says what it was given to say."""

    def __init__(self, *commands: Command | Exception) -> None:
        self._commands = commands

    def handle_event(self, _event: Event) -> Iterator[Command]:
        for command in self._commands:
            if isinstance(command, Exception):
                raise command
            yield command


def told(*commands: Command | Exception) -> Iterator[Command]:
    return OneWrite(cast(Layer, Scripted(*commands))).handle_event(Start())


def shown(commands: Iterator[Command]) -> list[object]:
    return [(c.connection, c.data) if isinstance(c, SendData) else type(c) for c in commands]


def test_consecutive_pieces_for_one_connection_go_out_in_one_write_in_their_order() -> None:
    said = told(
        SendData(CLIENT, b"a"),
        SendData(CLIENT, b"b"),
        SendData(SERVER, b"c"),
        SendData(CLIENT, b"d"),
        SendData(CLIENT, b""),
    )
    assert shown(said) == [(CLIENT, b"ab"), (SERVER, b"c"), (CLIENT, b"d")]


def test_nothing_is_sent_after_a_command_that_it_was_said_before() -> None:
    said = told(SendData(CLIENT, b"a"), SendData(CLIENT, b"b"), CloseConnection(CLIENT), SendData(CLIENT, b"late"))
    assert shown(said) == [(CLIENT, b"ab"), CloseConnection, (CLIENT, b"late")]


def test_what_was_said_before_the_engine_failed_is_sent_and_the_failure_is_not_hidden() -> None:
    said = told(SendData(CLIENT, b"a"), SendData(CLIENT, b"b"), ValueError("of the engine"))
    assert shown(iter([next(said)])) == [(CLIENT, b"ab")]
    with pytest.raises(ValueError, match="of the engine"):
        next(said)


def test_a_reader_that_stops_half_way_is_sent_nothing_more() -> None:
    said = told(SendData(CLIENT, b"a"), SendData(SERVER, b"b"), SendData(CLIENT, b"c"))
    assert shown(iter([next(said)])) == [(CLIENT, b"a")]
    cast(Any, said).close()
    assert list(said) == []


class Listener:
    def __init__(self, name: str, heard: list[str], fails: Exception | None = None) -> None:
        self.name = name
        self._heard = heard
        self._fails = fails

    def running(self) -> None:
        self._heard.append(self.name)
        if self._fails is not None:
            raise self._fails


class LateListener(Listener):
    async def running(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().running()


def heard_by(*makers: tuple[type[Listener], str, Exception | None]) -> list[str]:
    heard: list[str] = []

    async def run() -> None:
        master = LeanMaster(Options())
        master._legacy_log_events.uninstall()
        for make, name, fails in makers:
            master.addons.add(make(name, heard, fails))
            # Asked in between, too: one added later is heard as well.
            await master.addons.trigger_event(UpdateHook([]))
        await master.addons.trigger_event(RunningHook())
        addons = cast(Any, master.addons)
        addons.remove(addons.get(makers[0][1]))
        await master.addons.trigger_event(RunningHook())

    asyncio.run(run())
    return heard


def test_a_hook_is_asked_of_every_addon_that_listens_waited_for_and_of_none_that_was_removed() -> None:
    assert heard_by((Listener, "one", None), (LateListener, "two", None)) == ["one", "two", "two"]


def test_an_addon_that_fails_costs_the_next_one_nothing() -> None:
    assert heard_by((Listener, "one", ValueError()), (Listener, "two", None)) == ["one", "two", "two"]


def test_an_addon_that_halts_is_the_last_to_be_asked() -> None:
    assert heard_by((Listener, "one", AddonHalt()), (Listener, "two", None)) == ["one", "two"]


def test_the_engine_is_as_it_was_when_ours_has_ended_also_after_a_failure() -> None:
    def state() -> tuple[object, ...]:
        return mode_servers.ProxyConnectionHandler, websocket.WebsocketConnection, http.MessageData.__post_init__

    def fail_inside() -> None:
        with engine_changed():
            assert all(now is not then for now, then in zip(state(), before, strict=True))
            raise RuntimeError

    before = state()
    with pytest.raises(RuntimeError):
        fail_inside()
    assert state() == before


def test_the_engine_s_check_of_its_own_messages_is_out_while_ours_runs_and_back_behind_it() -> None:
    def make() -> http.ResponseData:
        version = cast(bytes, "HTTP/1.1, and no bytes")
        return http.ResponseData(version, http.Headers(), b"", None, 0.0, 0.0, 200, b"OK")

    with engine_changed():
        make()
    with pytest.raises(TypeError):
        make()
