"""Messages whose bodies are held back, for as long as the engine does that.

A body that grows over the engine's limit (`stream_large_bodies`) is let go of: the engine sets `stream` and sends on
what it has. Without a word it would go past the tap, and its row would know nothing of it; here it goes by the tap.

Never here: why a body is held, and what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

Passing = Callable[[bytes], bytes | list[bytes]]
"""What the engine calls for each piece of a body that it does not hold, and with nothing at its end."""


class _LetGo:
    """Where the engine says that a body is streamed it gets the tap."""

    _submeter_tap: Passing
    _submeter_stream: Passing | bool

    @property
    def stream(self) -> Passing | bool:
        return self._submeter_stream

    @stream.setter
    def stream(self, value: Passing | bool) -> None:
        self._submeter_stream = self._submeter_tap if value is True else value


class _HeldRequest(_LetGo, http.Request):  # type: ignore[misc]
    pass


class _HeldResponse(_LetGo, http.Response):  # type: ignore[misc]
    pass


def hold(message: http.Request | http.Response, tap: Passing) -> None:
    """Have this message's body held back until it is whole, or pass by `tap` where it grows too long for that."""
    held = _HeldRequest if isinstance(message, http.Request) else _HeldResponse
    message.__class__ = held
    vars(message).update(_submeter_tap=tap, _submeter_stream=False)
