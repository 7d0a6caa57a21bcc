"""What we change in the engine: each change does its work, and all are gone when the engine has ended."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.exceptions import AddonHalt
from mitmproxy.hooks import RunningHook, UpdateHook
from mitmproxy.options import Options
from mitmproxy.proxy.commands import CloseConnection, Command, SendData
from mitmproxy.proxy.events import Event, HookCompleted, Start
from mitmproxy.proxy.layer import Layer, NextLayer, NextLayerHook
from mitmproxy.proxy.layers import websocket
from wsproto.connection import ConnectionType

from submeter.proxy.engine_changes import _CHANGES, AtOnce, LeanMaster, engine_changed

CLIENT = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
SERVER = Server(address=("127.0.0.1", 3))


class Scripted:
    """Stands where the engine's top layer would, and says what it was given to say; the rest at a hook's answer."""

    def __init__(self, *commands: Command | Exception, rest: tuple[Command, ...] = ()) -> None:
        self._commands = commands
        self._rest = rest
        self.seen: list[Event] = []

    def handle_event(self, event: Event) -> Iterator[Command]:
        self.seen.append(event)
        for command in self._rest if isinstance(event, HookCompleted) else self._commands:
            if isinstance(command, Exception):
                raise command
            yield command


def told(*commands: Command | Exception) -> Iterator[Command]:
    return AtOnce(cast(Layer, Scripted(*commands)), lambda _hook: True).handle_event(Start())


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


def asked(*, waits: bool, blocking: bool = True) -> tuple[list[object], list[type[Event]]]:
    """What is said, and what the engine is told, around a hook in which somebody waits, or nobody."""
    hook = NextLayerHook(cast(NextLayer, None))
    hook.blocking = blocking
    layer = Scripted(SendData(CLIENT, b"a"), hook, SendData(CLIENT, b"b"), rest=(SendData(CLIENT, b"c"),))
    said = AtOnce(cast(Layer, layer), lambda _hook: not waits).handle_event(Start())
    return shown(said), [type(event) for event in layer.seen]


def test_a_hook_that_nobody_waits_in_is_answered_once_what_the_event_said_is_heard() -> None:
    assert asked(waits=False) == ([(CLIENT, b"abc")], [Start, HookCompleted])


def test_a_hook_whose_answer_the_engine_does_not_wait_for_is_not_answered() -> None:
    assert asked(waits=False, blocking=False) == ([(CLIENT, b"ab")], [Start])


def test_a_hook_that_somebody_waits_in_is_left_to_the_engine() -> None:
    assert asked(waits=True) == ([(CLIENT, b"a"), NextLayerHook, (CLIENT, b"b")], [Start])


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


Made = tuple[type[Listener], str, Exception | None]


def heard_by(*makers: Made) -> list[str]:
    """Who is asked at a hook, and again once the first of them was taken out."""
    heard: list[str] = []

    async def ask(master: LeanMaster) -> None:
        event = RunningHook()
        # As the engine's top layer does, and as the engine does where that was left to it.
        if not cast(Any, master.addons).answer(event):
            await master.addons.trigger_event(event)

    async def run() -> None:
        master = LeanMaster(Options())
        master._legacy_log_events.uninstall()
        for make, name, fails in makers:
            master.addons.add(make(name, heard, fails))
            # Asked in between, too: one added later is heard as well.
            await master.addons.trigger_event(UpdateHook([]))
        await ask(master)
        addons = cast(Any, master.addons)
        addons.remove(addons.get(makers[0][1]))
        await ask(master)

    asyncio.run(run())
    return heard


def test_a_hook_is_asked_of_every_addon_that_listens_in_order_waited_for_and_of_none_that_was_removed() -> None:
    one, two, three = (Listener, "one", None), (LateListener, "two", None), (Listener, "three", None)
    assert heard_by(one, three) == ["one", "three", "three"]
    assert heard_by(one, two, three) == ["one", "two", "three", "two", "three"]
    assert heard_by(two, (LateListener, "four", None), three) == ["two", "four", "three", "four", "three"]


@pytest.mark.parametrize("make", [Listener, LateListener])
def test_an_addon_that_fails_costs_the_next_one_nothing(make: type[Listener]) -> None:
    assert heard_by((make, "one", ValueError()), (Listener, "two", None)) == ["one", "two", "two"]


@pytest.mark.parametrize("make", [Listener, LateListener])
def test_an_addon_that_halts_is_the_last_to_be_asked(make: type[Listener]) -> None:
    assert heard_by((make, "one", AddonHalt()), (Listener, "two", None)) == ["one", "two"]


def test_a_message_that_comes_in_many_reads_grows_in_place_and_is_the_engine_s() -> None:
    """In place: what it costs grows with its size, where the engine's own copies all that came before at each read."""
    with engine_changed():
        connection = websocket.WebsocketConnection(ConnectionType.SERVER, conn=CLIENT)
        for frames in ([[b"a", b"bc"], [b"", b"d"]], [[b"x"]]):
            for reads in frames:
                growing = connection.frame_buf[-1]
                for piece in reads:
                    connection.frame_buf[-1] += piece
                    assert connection.frame_buf[-1] is growing
                connection.frame_buf.append(b"")
            put_together = b"".join(connection.frame_buf)
            assert (type(put_together), put_together) == (bytes, b"".join(b"".join(reads) for reads in frames))
            connection.frame_buf = [b""]


NAMES = st.sampled_from([b"Date", b"date", b"DATE", b"x-\xc3\xa9", b"x", b""])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=5)


@given(FIELDS, NAMES, st.booleans())
def test_a_header_is_found_in_one_pass_as_the_engine_finds_it(
    fields: list[tuple[bytes, bytes]], name: bytes, as_text: bool
) -> None:
    headers = cast(Any, http.Headers(fields))
    wanted = name.decode("utf-8", "surrogateescape") if as_text else name

    def found() -> tuple[object, ...]:
        return headers.get_all(wanted), headers.get(wanted), headers.get(wanted, "none"), wanted in headers

    before = found()
    with engine_changed():
        assert found() == before


def test_the_engine_is_as_it_was_when_ours_has_ended_also_after_a_failure() -> None:
    def state() -> list[object]:
        return [vars(owner).get(name) for owner, name, _ in _CHANGES]

    def fail_inside() -> None:
        with engine_changed():
            assert all(now is not then for now, then in zip(state(), before, strict=True))
            raise RuntimeError

    before = state()
    with pytest.raises(RuntimeError):
        fail_inside()
    assert all(now is then for now, then in zip(state(), before, strict=True))
    assert "get" not in vars(http.Headers)


def test_the_engine_s_check_of_its_own_messages_is_out_while_ours_runs_and_back_behind_it() -> None:
    def make() -> http.ResponseData:
        version = cast(bytes, "HTTP/1.1, and no bytes")
        return http.ResponseData(version, http.Headers(), b"", None, 0.0, 0.0, 200, b"OK")

    with engine_changed():
        make()
    with pytest.raises(TypeError):
        make()
