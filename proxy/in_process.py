"""The meter inside a Python program: `with Submeter(...) as meter`.

    with Submeter(ledger="submeter.duckdb") as meter:
        with meter.run("chatdev", run_id="r-1") as run:
            with run.step("1"):
                subprocess.run(cmd, env=run.env())

`async with` does the same without blocking the program's loop. Runs and steps are marked by `with`; a run's
environment carries its labels in the base URL, so that parallel runs and steps, also of one id in two frameworks,
cannot be confused. Never here:
sockets; the proxy is imported when a meter is entered, and where it cannot be `child` has it elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ..data.call import Edge, MarkedBy
from ..data.clock import Clock, SystemClock
from ..data.error import SubmeterError
from ..data.journal import new_call_id
from ..data.keys import read_keys
from ..data.marks import Mark, check_framework, check_run_id, check_step, run_name
from ..data.paths import ledger_path
from .authority import authority_certificate, authority_folder
from .child import ChildProxy
from .environment import base_url, client_environment
from .listen import Listen
from .upstream_url import DEFAULT_UPSTREAM, parse_upstream

if TYPE_CHECKING:
    from .serve import ProxyServer

DRAIN_S = 10.0

Done = TypeVar("Done")


class Submeter:
    """A proxy in a thread of this process, or in a child. Leaving the block stops it and loses nothing.

    `ledger`: path of the DuckDB file (default: `SUBMETER_LEDGER`, else `./submeter.duckdb`). `upstream`: where calls
    go. `port`: 0 takes any free one. `drain_s`: how long leaving waits for calls in flight, in seconds, before they
    are cut and recorded as aborted. `receipts`: look a stored response up once by its id where its client left before
    the usage came. `drain`: read an answer whose client left to its end, within 10 minutes and 64 MiB, so that its
    usage is known; the provider then goes on generating. `environment`: where framework keys are read from and what
    `env()` starts with (default: this process's own). Raises `SubmeterError` where it cannot start; one at a time in a
    process.
    """

    def __init__(
        self,
        ledger: str | os.PathLike[str] | None = None,
        *,
        upstream: str = DEFAULT_UPSTREAM,
        host: str = "127.0.0.1",
        port: int = 0,
        drain_s: float = DRAIN_S,
        receipts: bool = False,
        drain: bool = False,
        clock: Clock | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.ledger = ledger_path(ledger).absolute()
        self._upstream = upstream
        self._receipts = receipts
        self._drain = drain
        self._host = host
        self._port = port
        self._drain_s = drain_s
        self._clock = clock or SystemClock()
        self._server: ProxyServer | ChildProxy | None = None

    @property
    def url(self) -> str:
        """The proxy's own URL; clients use `base_url`."""
        return self._running().url

    @property
    def base_url(self) -> str:
        """What to give a client as its base URL where no run is declared."""
        return base_url(self.url)

    @property
    def certificate(self) -> Path:
        """PEM file of the proxy's own authority: whom a client that insists on TLS has to trust.

        The same port takes TLS. Node: `NODE_EXTRA_CA_CERTS`; Python: an SSL context, or a bundle in `SSL_CERT_FILE`.
        """
        return authority_certificate(self._authority())

    def start(self) -> Self:
        """Start the proxy; `with` does this."""
        server = self._new_server()
        server.start()
        self._server = server
        return self

    def _new_server(self) -> ProxyServer | ChildProxy:
        """The proxy in this process; where it cannot be imported beside the program's libraries, a child."""
        listen = Listen(host=self._host, port=self._port)
        address = parse_upstream(self._upstream)
        keys = read_keys(self.environment, Path(".env"))
        keys.check_apart()
        try:
            # The first as well, which the second does not import before it starts.
            from .carrying import Carrying  # noqa: F401
            from .serve import ProxyServer
        except ImportError as error:
            if not isinstance(self._clock, SystemClock):
                raise SubmeterError(
                    "The proxy cannot be imported beside this program's libraries.",
                    f"{type(error).__name__}: {error}; and a process of its own cannot have this clock.",
                    "Run the meter as a program of its own: submeter proxy, and set OPENAI_BASE_URL.",
                ) from error
            listen.check()
            return ChildProxy(
                ledger=self.ledger,
                listen=listen,
                upstream=address.url,
                drain_s=self._drain_s,
                receipts=self._receipts,
                drain=self._drain,
                environment=self.environment,
            )
        return ProxyServer(
            ledger=self.ledger,
            listen=listen,
            upstream=address,
            clock=self._clock,
            keys=keys,
            mode="python",
            receipts=self._receipts,
            drain=self._drain,
        )

    def stop(self) -> None:
        """Stop the proxy; leaving the block does this. Twice is once.

        Raises `SubmeterError` where the disk did not take all that was metered: it says where the rest is kept.
        """
        server, self._server = self._server, None
        if server is not None:
            server.stop(self._drain_s)
            if (unwritten := server.unwritten) is not None:
                raise unwritten

    def _stop_after(self, error: BaseException | None) -> None:
        """Stop at the end of a block; where that raised, its error stays, and what is wrong here is a note to it."""
        try:
            self.stop()
        except SubmeterError as unwritten:
            if error is None:
                raise
            error.add_note(str(unwritten))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_after(error)

    async def __aenter__(self) -> Self:
        try:
            return await _in_thread(self.start)
        except BaseException as error:
            # A caller that was cancelled while it started would leave it running.
            stopped = error
            await _in_thread(lambda: self._stop_after(stopped))
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(lambda: self._stop_after(error))

    def run(self, framework: str, *, run_id: str | None = None) -> Run:
        """A run of `framework`, begun on entering it and ended on leaving it; without an id it gets a new one.

        Raises `SubmeterError` for a framework or an id that cannot be a label.
        """
        chosen = check_run_id(run_id if run_id is not None else new_call_id(self._clock.now_us()))
        return Run(self, check_framework(framework.lower()), chosen)

    def env(self, extra: Iterable[str] = ()) -> dict[str, str]:
        """The environment, pointed at the proxy, without a run."""
        return self._client_environment(self.base_url, extra)

    def _client_environment(self, base: str, extra: Iterable[str]) -> dict[str, str]:
        return client_environment(self.environment, base, extra, authority=self._authority())

    def _authority(self) -> Path:
        return self._running().authority or authority_folder()

    def _running(self) -> ProxyServer | ChildProxy:
        if self._server is None:
            raise SubmeterError(
                "This Submeter is not running.",
                "It runs inside its `with` block, or between start() and stop().",
                "Write: with Submeter(ledger=...) as meter: ...",
            )
        return self._server

    def _mark(self, mark: Callable[[int], Mark]) -> None:
        self._running().mark(mark(self._clock.now_us()))


class Run:
    """One run. `with` marks its begin and end; its status is `failed` where the block raises, else `success`."""

    def __init__(self, meter: Submeter, framework: str, run_id: str) -> None:
        self._meter = meter
        self.framework = framework
        self.run_id = run_id
        self._steps: list[str] = []

    @property
    def name(self) -> str:
        """`framework/run_id`, as commands take it."""
        return run_name(self.framework, self.run_id)

    @property
    def base_url(self) -> str:
        """What to give a client as its base URL for this run, and for its innermost open step."""
        step = self._steps[-1] if self._steps else None
        return base_url(self._meter.url, framework=self.framework, run_id=self.run_id, step=step)

    def env(self, extra: Iterable[str] = ()) -> dict[str, str]:
        """The environment, pointed at the proxy for this run and its innermost open step.

        `extra`: further variables that shall hold the base URL.
        """
        return self._meter._client_environment(self.base_url, extra)

    def step(self, step: str) -> Step:
        """A step of this run, begun on entering it and ended on leaving it; may be entered again."""
        return Step(self, check_step(str(step)))

    def __enter__(self) -> Self:
        self._mark("run", None, Edge.BEGIN, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mark("run", None, Edge.END, _status(kind))

    async def __aenter__(self) -> Self:
        return await _in_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(lambda: self.__exit__(kind, error, trace))

    def _mark(self, kind: str, step: str | None, edge: Edge, status: str | None) -> None:
        self._meter._mark(
            lambda now_us: Mark(
                kind="step" if kind == "step" else "run",
                framework=self.framework,
                run_id=self.run_id,
                step=step,
                edge=edge,
                by=MarkedBy.PYTHON,
                marked_at=now_us,
                status=status,
            )
        )


class Step:
    """One step of a run. Inside it, the run's `env()` and `base_url` carry its label."""

    def __init__(self, run: Run, step: str) -> None:
        self._run = run
        self.step = step

    @property
    def base_url(self) -> str:
        """What to give a client as its base URL for this step: exact also where steps run in parallel."""
        run = self._run
        return base_url(run._meter.url, framework=run.framework, run_id=run.run_id, step=self.step)

    def env(self, extra: Iterable[str] = ()) -> dict[str, str]:
        """The environment, pointed at the proxy for this step."""
        return self._run._meter._client_environment(self.base_url, extra)

    def __enter__(self) -> Self:
        self._run._mark("step", self.step, Edge.BEGIN, None)
        self._run._steps.append(self.step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run._steps.remove(self.step)
        self._run._mark("step", self.step, Edge.END, _status(kind))

    async def __aenter__(self) -> Self:
        return await _in_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _in_thread(lambda: self.__exit__(kind, error, trace))


async def _in_thread(act: Callable[[], Done]) -> Done:
    """Do this off the caller's loop. It is done to its end also where the caller is cancelled meanwhile."""
    import asyncio  # Commands that only mark a step do without it.

    task = asyncio.ensure_future(asyncio.to_thread(act))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _status(kind: type[BaseException] | None) -> str:
    return "success" if kind is None else "failed"
