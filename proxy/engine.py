"""Today's doors, on the engine: what needs TLS from the client, which is `--intercept`. The engine is imported here.

    engine = Engine(...)
    await engine.run()          # calls `bound` once it listens; ends after `exit`
    await engine.close()        # no more connections

Never here: threads, the journal, the ledger.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .control import Control
from .listen import INTERCEPT_HOST, Listen
from .recorder import Recorder
from .rewrite_request import BODY_BYTES_MAX as HELD_BYTES_MAX
from .upstream_url import Upstream

with warnings.catch_warnings():
    # The engine's own dependencies warn at import (passlib on crypt); a host that makes warnings errors must not fail.
    warnings.simplefilter("ignore")
    import mitmproxy.proxy.server
    from mitmproxy.addons.core import Core
    from mitmproxy.addons.next_layer import NextLayer
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.master import Master
    from mitmproxy.options import Options

    from .engine_changes import LeanMaster, engine_changed, engine_logging_aside
    from .intercept import Intercept
    from .socket_tap import SocketTap
    from .tap import Tap


class Engine:
    """The engine with our addons, in the running event loop."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        control: Control,
        upstream: Upstream,
        listen: Listen,
        authority: Path,
        bound: Callable[[list[str], str | None], None],
        failed: Callable[[BaseException], None],
        stopping: Callable[[], bool],
        listener: Callable[[], str],
        receipts: bool,
        silence_s_max: int,
    ) -> None:
        """`bound` gets the URLs of the listener and of the intercept port; `failed` why there is none."""
        self._recorder = recorder
        self._control = control
        self._upstream = upstream
        self._listen = listen
        self._authority = authority
        self._bound = bound
        self._failed = failed
        self._told = False
        self._stopping = stopping
        self._listener = listener
        self._receipts = receipts
        self._silence_s_max = silence_s_max
        self._master: Master | None = None
        self._proxyserver: Proxyserver | None = None

    @property
    def listeners(self) -> list[object]:
        servers = self._proxyserver.servers if self._proxyserver is not None else ()
        return [one for server in servers for one in getattr(server, "_servers", ())]

    async def run(self) -> None:
        """Listen until `exit`."""
        with engine_logging_aside(), engine_changed():
            await self._run()

    async def close(self) -> None:
        """Take no more connections."""
        if self._proxyserver is not None:
            await self._proxyserver.servers.update([])

    def exit(self) -> None:
        """Have `run` end; what is open is cut."""
        if self._master is not None:
            self._master.should_exit.set()

    async def _run(self) -> None:
        timeout_before = getattr(mitmproxy.proxy.server, "TCP_TIMEOUT", None)
        master = LeanMaster(self._options())
        # The engine would hand every log record of the host program to its own loop.
        master._legacy_log_events.uninstall()
        self._master = master
        self._proxyserver = Proxyserver()
        intercept = Intercept(self._upstream) if self._listen.intercept_port is not None else None
        tap = Tap(
            recorder=self._recorder,
            control=self._control,
            upstream=self._upstream,
            ready=self._on_bound,
            stopping=self._stopping,
            listener=self._listener,
            receipts=self._receipts,
            intercept=intercept,
        )
        sockets = SocketTap(self._recorder, stopping=self._stopping)
        doors = [intercept] if intercept is not None else []
        try:
            master.addons.add(Core(), self._proxyserver, *doors, NextLayer(), TlsConfig(), tap, sockets)
            master.options.update(**self._addon_options(master))
            if timeout_before is not None:
                mitmproxy.proxy.server.TCP_TIMEOUT = self._silence_s_max
            await master.run()
        except BaseException:
            await master.done()
            raise
        finally:
            if timeout_before is not None:
                mitmproxy.proxy.server.TCP_TIMEOUT = timeout_before

    def _options(self) -> Options:
        address = self._upstream
        host = f"[{address.host}]" if ":" in address.host else address.host
        modes = [f"reverse:{address.scheme}://{host}:{address.port}"]
        if self._listen.intercept_port is not None:
            modes.append(f"regular@{INTERCEPT_HOST}:{self._listen.intercept_port or _free_port(INTERCEPT_HOST)}")
        return Options(
            confdir=str(self._authority),
            mode=modes,
            listen_host=self._listen.host,
            listen_port=self._listen.port,
        )

    def _addon_options(self, master: Master) -> dict[str, Any]:
        options: dict[str, Any] = {
            "connection_strategy": "lazy",
            "keep_host_header": True,
            # Only what the tap holds back is ever buffered; a longer body is streamed unchanged.
            "stream_large_bodies": str(HELD_BYTES_MAX),
            # What goes to a metered host over the intercept is HTTP/1.1, or refused: never relayed unread.
            "http2": False,
            # A certificate of ours is for the host that was asked for, not for all that the upstream's is for.
            "upstream_cert": False,
            "rawtcp": False,
        }
        if "tcp_timeout" in master.options:
            options["tcp_timeout"] = self._silence_s_max
        if trusted := os.environ.get("SSL_CERT_FILE"):
            options["ssl_verify_upstream_trusted_ca"] = trusted
        return options

    def _on_bound(self) -> None:
        """Called by the engine once it has tried to bind, and again before each request; acts once."""
        if self._told or self._proxyserver is None:
            return
        for server in self._proxyserver.servers:
            if server.last_exception is not None or not server.is_running:
                self._told = True
                self._failed(server.last_exception or OSError("the listener did not start"))
                return
        bound = {server.mode.type_name: server.listen_addrs for server in self._proxyserver.servers}
        urls = [f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port, *_ in bound["reverse"]]
        intercept = [f"http://{host}:{port}" for host, port, *_ in bound.get("regular", ())]
        self._told = True
        self._bound(urls, intercept[0] if intercept else None)


def _free_port(host: str) -> int:
    """A port that is free now. The engine takes two listeners on port 0 of one host for the same address."""
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])
