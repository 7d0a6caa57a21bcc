"""What we change in the engine itself, each with its reason. Never here: anything the engine can be asked for.

A WebSocket that broke on one side breaks on the other. Where a connection ends without a closing handshake the engine
says to the other side that all is well (close code 1000, measured on 11.0.2 and 12.2.3). A client would then take the
half of a response that it has for the whole, where without a proxy it sees the break (the openai SDK connects again).

A refusal is our own JSON, and reaches a client that is still sending (`engine_refusals`).

TLS works in a host program that makes warnings errors. On 11.0.2 the engine's own use of pyOpenSSL warns in the
middle of a handshake, which then fails. pyOpenSSL is kept from warning, as long as the engine runs: the list of what
is to be warned of is the host program's, and cannot be changed for one thread.

A server's certificate has its hosts as alternative names alone. The engine repeats the first as common name, where
OpenSSL takes an address for a host name and finds it outside of what our authority may sign for.

The rest is CPU that a call need not cost; `bench/bench_proxy.py` measures against the engine without it.

- A hook is asked of the addons that listen to it. The engine looks through all of them at every hook, and once more at
  an `update` hook for its own screens, which nobody has here.
- A hook that nobody waits in is answered at once. The engine makes a task for each, and comes back to it later.
- Messages are not checked for their types. The engine does so for each one it has just parsed, unless Python runs
  with -O.
- What one event makes the engine send goes out in one write. A fast stream has many chunks in a read, and a write
  costs more than all else that is done for a chunk.
- A message of a socket that comes in many reads is put together once. The engine copies all that came before with each
  read, so that 16 MiB cost seconds.
- A header is looked for in one pass. The engine calls three functions for every header there is, and OpenAI sends 30.
"""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mitmproxy import certs, http
    from mitmproxy.addonmanager import AddonManager, safecall
    from mitmproxy.connection import Connection
    from mitmproxy.exceptions import AddonHalt
    from mitmproxy.hooks import Hook
    from mitmproxy.master import Master
    from mitmproxy.options import Options
    from mitmproxy.proxy import mode_servers
    from mitmproxy.proxy.commands import CloseConnection, Command, RequestWakeup, SendData, StartHook
    from mitmproxy.proxy.events import DataReceived, Event, HookCompleted, Wakeup
    from mitmproxy.proxy.layer import Layer
    from mitmproxy.proxy.layers import websocket
    from OpenSSL import SSL
    from wsproto.events import CloseConnection as SocketClose
    from wsproto.events import Event as SocketEvent
    from wsproto.frame_protocol import CloseReason

    from .engine_refusals import REFUSAL_CHANGES, Linger

from .refusal import LINGER_S


class _Quiet:
    """In the place of the module `warnings`."""

    @staticmethod
    def warn(*_said: object, **_how: object) -> None:
        pass


class _Frames(list[Any]):
    """The frames of a message that is not whole yet, each of which grows in place."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        super().__init__(map(bytearray, frames))

    def append(self, frame: bytes) -> None:
        super().append(bytearray(frame))


class _Connection(websocket.WebsocketConnection):
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _Frames(value) if name == "frame_buf" else value)

    def send2(self, event: SocketEvent) -> SendData:
        if isinstance(event, SocketClose) and event.code == CloseReason.ABNORMAL_CLOSURE:
            # The engine closes the connection next, and that is all the other side is to see.
            return SendData(self.conn, b"")
        return super().send2(event)


class _ListeningAddons(AddonManager):
    """The engine's addons, with those that listen to a hook found once instead of at each call of it."""

    def __init__(self, master: Master) -> None:
        super().__init__(master)
        self._listeners: dict[str, list[Callable[..., Any]]] = {}
        self._begun: dict[Hook, tuple[Awaitable[object], Iterator[Callable[..., Any]]]] = {}
        """Hooks that somebody waits in: what is waited for, and who has not been asked yet."""

    def add(self, *addons: object) -> None:
        self._listeners.clear()
        super().add(*addons)

    def remove(self, addon: object) -> None:
        self._listeners.clear()
        super().remove(addon)

    def clear(self) -> None:
        self._listeners.clear()
        super().clear()

    def answer(self, event: Hook) -> bool:
        """Ask a hook of all who listen; False where one of them waits: then `trigger_event` is to do the rest."""
        begun = self._ask(event, iter(self._listening(event)))
        if begun is None:
            return True
        self._begun[event] = begun
        return False

    async def trigger_event(self, event: Hook) -> None:
        begun = self._begun.pop(event, None) or self._ask(event, iter(self._listening(event)))
        while begun is not None:
            waits, others = begun
            if not await _is_done(waits):
                return
            begun = self._ask(event, others)

    def _listening(self, event: Hook) -> list[Callable[..., Any]]:
        listeners = self._listeners.get(event.name)
        if listeners is None:
            listeners = [listen for addon in self.chain for _, listen in self._iter_hooks(addon, event)]
            self._listeners[event.name] = listeners
        return listeners

    def _ask(
        self, event: Hook, listeners: Iterator[Callable[..., Any]]
    ) -> tuple[Awaitable[object], Iterator[Callable[..., Any]]] | None:
        """Ask one after the other, until one has to be waited for."""
        arguments: list[Any] | None = None
        for listen in listeners:
            if arguments is None:
                arguments = event.args()
            try:
                waits = listen(*arguments)
            except AddonHalt:
                return None
            except Exception:
                # As the engine itself would: into its log, and the next one is asked all the same.
                with safecall():
                    raise
            else:
                if waits is not None:
                    return waits, listeners
        return None


async def _is_done(waits: Awaitable[object]) -> bool:
    """Wait; False where the others are not to be asked."""
    try:
        await waits
    except AddonHalt:
        return False
    except Exception:
        with safecall():
            raise
    return True


class LeanMaster(Master):
    """The engine's master, with the addons above."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.addons = _ListeningAddons(self)


class AtOnce:
    """The engine's top layer: hooks that nobody waits in are answered, and pieces for one connection are one."""

    def __init__(self, layer: Layer, answer: Callable[[StartHook], bool]) -> None:
        self._layer = layer
        self._answer = answer
        self._refused: Connection | None = None
        """A client's connection on which nothing but its end is waited for."""

    def handle_event(self, event: Event) -> Iterator[Command]:
        if self._refused is not None:
            if isinstance(event, Wakeup):
                yield CloseConnection(self._refused)
                return
            if isinstance(event, DataReceived) and event.connection is self._refused:
                return
        connection: Connection | None = None
        pieces: list[bytes] = []
        try:
            for command in self._commands(event):
                if connection is not None and not (isinstance(command, SendData) and command.connection is connection):
                    yield SendData(connection, b"".join(pieces))
                    connection, pieces = None, []
                if isinstance(command, SendData):
                    connection = command.connection
                    pieces.append(command.data)
                else:
                    yield command
                    if isinstance(command, Linger):
                        self._refused = command.connection
                        yield RequestWakeup(LINGER_S)
        except Exception:
            # What the engine had said to send before it failed is sent.
            if connection is not None:
                yield SendData(connection, b"".join(pieces))
            raise
        if connection is not None:
            yield SendData(connection, b"".join(pieces))

    def _commands(self, event: Event) -> Iterator[Command]:
        events = deque([event])
        while events:
            for command in self._layer.handle_event(events.popleft()):
                if not isinstance(command, StartHook) or not self._answer(command):
                    yield command
                elif command.blocking:
                    events.append(HookCompleted(command))


class _Handler(mode_servers.ProxyConnectionHandler):
    async def handle_client(self) -> None:
        self.layer = AtOnce(self.layer, self.master.addons.answer)  # type: ignore[assignment, attr-defined]
        await super().handle_client()


_engine_certificate = certs.dummy_cert


def _certificate(key: Any, authority: Any, _common_name: str | None, *rest: Any, **named: Any) -> certs.Cert:
    return _engine_certificate(key, authority, "submeter proxy", *rest, **named)


def _unchecked(_message: http.MessageData) -> None:
    """In the place of a check of types."""


def _get_all(headers: http.Headers, name: str | bytes) -> list[str]:
    wanted = (name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")).lower()
    return [value.decode("utf-8", "surrogateescape") for key, value in headers.fields if key.lower() == wanted]


def _get(headers: http.Headers, name: str | bytes, default: Any = None) -> Any:
    values = _get_all(headers, name)
    return ", ".join(values) if values else default


def _has(headers: http.Headers, name: object) -> bool:
    return isinstance(name, str | bytes) and bool(_get_all(headers, name))


_CHANGES: tuple[tuple[Any, str, Any], ...] = (
    (SSL, "warnings", _Quiet),
    (certs, "dummy_cert", _certificate),
    (websocket, "WebsocketConnection", _Connection),
    (mode_servers, "ProxyConnectionHandler", _Handler),
    (http.MessageData, "__post_init__", _unchecked),
    (http.Headers, "get_all", _get_all),
    (http.Headers, "get", _get),
    (http.Headers, "__contains__", _has),
    *REFUSAL_CHANGES,
)
_ABSENT = object()


@contextmanager
def engine_changed() -> Iterator[None]:
    """Within it the engine is as it is described above; afterwards it is as it came."""
    before = [vars(owner).get(name, _ABSENT) for owner, name, _ in _CHANGES]
    for owner, name, ours in _CHANGES:
        setattr(owner, name, ours)
    try:
        yield
    finally:
        for (owner, name, _), was in zip(_CHANGES, before, strict=True):
            if was is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, was)


@contextmanager
def engine_logging_aside() -> Iterator[None]:
    """The engine's log goes nowhere while it runs: what matters is in the rows, and the host's log is the host's."""
    engine = logging.getLogger("mitmproxy")
    before = engine.propagate, engine.level
    silence = logging.NullHandler()
    engine.propagate = False
    engine.setLevel(logging.CRITICAL)
    engine.addHandler(silence)
    try:
        yield
    finally:
        engine.removeHandler(silence)
        engine.propagate, engine.level = before
        engine.setLevel(before[1])
