"""Starting and stopping a proxy.

    server = ProxyServer(ledger=Path("submeter.duckdb"), listen=Listen(port=0), upstream=..., clock=..., keys=...)
    server.start()        # bound and recording, or a SubmeterError
    server.url            # http://127.0.0.1:43817
    server.stop()         # closes the listener, waits for open calls, cuts and journals the rest

Four threads are started here: the lane's event loop, the journal's sync, the ledger's ingest, the live page's
questions. A failed start, a stop or a crash leave the host program's logging, signals and loops as they were. One of
several workers is such a proxy too; it listens where its place says, and its journal is carried into the ledger by who
started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.clock import Clock, SystemClock
from ..data.error import SubmeterError
from ..data.journal import Journal, submeter_version
from ..data.keys import KeyRing
from ..data.marks import Mark, MarkBook
from .authority import authority_folder
from .certificates import keep_authority
from .control import Control
from .desk import DrainLimits
from .forking import let_go_of_sockets
from .health import held_now
from .lane_server import LaneServer
from .listen import Listen, start_error
from .live import SHARE_S, Live
from .live_page import live_views
from .outcome import STOPPED, Break
from .outer_proxy import OuterProxy, outer_proxy
from .place import WorkerPlace
from .recorder import Recorder
from .repeat import repeating
from .shared import BEAT_S
from .upstream_url import Upstream

if TYPE_CHECKING:
    from ..data.ledger import Ledger
    from .carrying import Carrying

logger = logging.getLogger("submeter.proxy")

DRAIN_S = 10.0
SYNC_EVERY_S = 0.5
START_S_MAX = 30.0
AUTHORITY_LOOK_S = 12 * 3600.0
SILENCE_S_MAX = 24 * 3600
"""A connection without a byte for this long is closed. A model may think for long."""


class ProxyServer:
    """One proxy with its journal. One at a time in a process, so that a program's calls are in one ledger."""

    _running: ProxyServer | None = None
    _one_at_a_time = threading.Lock()

    def __init__(
        self,
        *,
        ledger: Path,
        listen: Listen,
        upstream: Upstream,
        clock: Clock,
        keys: KeyRing,
        mode: str = "proxy",
        silence_s_max: float = SILENCE_S_MAX,
        receipts: bool = False,
        drain: bool = False,
        settled: Callable[[Mapping[str, Any]], None] | None = None,
        place: WorkerPlace | None = None,
    ) -> None:
        """`settled`: is told the settle line of each call that has ended.

        `drain`: an answer whose client left is read to its end. `place`: beside which workers this is one; None: it is
        a proxy of its own.
        """
        # A relative path means the place it meant when it was given, whatever the host program does with its folder.
        self._ledger_path = ledger.absolute()
        self._carrying: Carrying | None = None
        self._place = place
        self._listen = listen
        self._upstream = upstream
        self._clock = clock
        self._keys = keys
        self._mode = mode
        self._silence_s_max = silence_s_max
        self._receipts = receipts
        self._drains = drain
        self._settled = settled
        self._live = Live(self._open_ledger, clock, place)
        self._url: str | None = None
        self._intercept_url: str | None = None
        self._authority: Path | None = None
        self._recorder: Recorder | None = None
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._problem: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: LaneServer | None = None
        self._outer: OuterProxy | None = None
        self._drain_s = DRAIN_S

    @property
    def url(self) -> str:
        """What a client's base URL starts with; append `/v1`."""
        if self._url is None:
            raise RuntimeError("the proxy is not running")
        return self._url

    @property
    def intercept_url(self) -> str | None:
        """What a client's HTTPS proxy is; None: this proxy does not intercept."""
        return self._intercept_url

    @property
    def authority(self) -> Path | None:
        """The folder of the certificate authority that the intercept and the TLS listener use."""
        return self._authority

    @property
    def calls_open(self) -> int:
        return len(self.recorder.open)

    @property
    def recorder(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError("the proxy is not running")
        return self._recorder

    def mark(self, mark: Mark) -> Mark:
        """Follow and journal a mark; answers it as journaled."""
        return self.recorder.mark(mark)

    def start(self) -> None:
        """Bind and begin to record. Raises `SubmeterError` for a taken port, an unwritable ledger, a second proxy."""
        self._listen.check()
        self._listen.check_upstream(self._upstream)
        self._outer = outer_proxy(os.environ, self._upstream)
        with self._one_at_a_time:
            if ProxyServer._running is not None:
                raise SubmeterError(
                    "A proxy is already running in this process.",
                    "There is one at a time: stop it before the next one starts.",
                    "Or start one of its own: submeter proxy --listen 127.0.0.1:0",
                )
            ProxyServer._running = self
        try:
            self._start()
        except BaseException:
            ProxyServer._running = None
            raise

    def _start(self) -> None:
        journal = Journal.open(self._ledger_path, mode=self._mode, clock=self._clock)
        try:
            marks = self._take_up_marks()
        except BaseException:
            journal.close(stop=False)
            journal.path.unlink(missing_ok=True)
            raise
        clock, keys, upstream = self._clock, self._keys, self._upstream.url
        self._recorder = Recorder(
            journal=journal,
            clock=clock,
            keys=keys,
            marks=marks,
            upstream=upstream,
            settled=self._note_settled,
            place=self._place,
        )
        lane = threading.Thread(target=self._run_lane, name="submeter-proxy", daemon=True)
        lane.start()
        if not self._started.wait(START_S_MAX) and self._problem is None:
            self._problem = TimeoutError(f"the lane did not start within {START_S_MAX:.0f} s")
        if self._problem is not None:
            self._end_lane()
            lane.join(START_S_MAX)
            journal.close(stop=False)
            if not journal.begun:
                journal.path.unlink(missing_ok=True)
            raise start_error(self._listen, self._problem) from self._problem
        self._threads = [lane]
        self._threads.append(
            repeating("submeter-sync", self._sync, wait_s=lambda: SYNC_EVERY_S, stopping=self._stopping)
        )
        if self._carrying is not None:
            self._threads.append(self._carrying.go_on(self._stopping))
        self._threads.append(self._live.begin())

    def _take_up_marks(self) -> MarkBook:
        """The runs that are open as this begins; a worker finds them where all of its proxy look."""
        if self._place is not None:
            return MarkBook()
        from .carrying import Carrying  # With DuckDB, which a worker does without.

        self._carrying = Carrying(self._ledger_path, self._clock)
        return self._carrying.begin()

    def _open_ledger(self) -> Ledger:
        """The one that is carried into here; a worker has one only where somebody looks at the live page."""
        if self._carrying is not None:
            return self._carrying.ledger
        from ..data.ledger import Ledger

        return Ledger(self._ledger_path, clock=self._clock)

    def _sync(self) -> None:
        journal = self.recorder.journal
        journal.sync()
        if self._place is not None:
            self._place.board.row(self._place.number).lines_waiting = journal.lines_waiting

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Close the listener, wait up to `drain_s` for open calls, cut and journal the rest, ingest. Idempotent."""
        if self._recorder is None or not self._threads:
            return
        self._drain_s = drain_s
        self._live.end()
        self._end_lane()
        for thread in self._threads:
            thread.join()
        self._threads = []
        try:
            for attempt in list(self._recorder.open.values()):
                attempt.break_off(Break.STOPPED, error=STOPPED)
            self._recorder.journal.close()
            if self._carrying is not None:
                self._carrying.end()
        finally:
            self._url = None
            ProxyServer._running = None

    @property
    def unwritten(self) -> SubmeterError | None:
        """After the stop: what could not be written down, and where it is instead; None where all is written."""
        return None if self._recorder is None else self._recorder.journal.unwritten

    def let_go_after_fork(self) -> None:
        """In a forked child: the proxy goes on in the parent, where `url` still leads, and nothing of it is ours."""
        let_go_of_sockets(self._loop, self._server.listeners if self._server is not None else [])
        self._threads = []
        self._recorder = None

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the lane has ended by itself (True) or `seconds` have passed (False)."""
        if self._threads:
            self._threads[0].join(seconds)
        return not self._threads or not self._threads[0].is_alive()

    def _end_lane(self) -> None:
        self._stopping.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        if self._server is not None:
            with contextlib.suppress(Exception):
                await self._server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_s
        while self._is_busy() and loop.time() < deadline:
            await asyncio.sleep(0.02)
        if self._server is not None:
            self._server.exit()

    def _is_busy(self) -> bool:
        # A stream is settled before its last bytes are there; its client is to have them.
        return bool(self._recorder and self._recorder.open) or bool(self._server and self._server.busy)

    def _run_lane(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._problem = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Connections that a stop cuts would each be a traceback in the host's log (3.11); the rows tell of them.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._authority = authority_folder() if self._place is None else self._place.authority
        self._keep_authority(self._authority)
        self._beat()
        self._share()
        self._server = self._lane(self._authority)
        await self._server.run()

    def _keep_authority(self, folder: Path) -> None:
        """Have an authority for our hosts that is good for a month at least; look again in half a day."""
        asyncio.get_running_loop().call_later(AUTHORITY_LOOK_S, self._keep_authority, folder)
        # TLS clients judge it by the machine's clock, whatever clock the calls have.
        said = keep_authority(folder, (self._upstream.host, self._listen.host), SystemClock().now_us())
        if said is not None:
            logger.warning("%s", said)

    def _beat(self) -> None:
        """Tell other workers, and hear from them, also while no call comes."""
        if (shared := self.recorder.shared) is not None:
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)
            shared.beat()

    def _share(self) -> None:
        """Let other workers show what is seen of calls here."""
        if self._place is not None:
            asyncio.get_running_loop().call_later(SHARE_S, self._share)
            self._live.share(self.recorder)

    def _lane(self, authority: Path) -> LaneServer:
        return LaneServer(
            recorder=self.recorder,
            control=self._control(),
            upstream=self._upstream,
            listen=self._listen,
            bound=self._on_bound,
            stopping=self._stopping.is_set,
            listener=lambda: self.url,
            receipts=self._receipts,
            drain=DrainLimits() if self._drains else None,
            outer=self._outer,
            silence_s_max=self._silence_s_max,
            authority=authority,
            place=self._place,
        )

    def _control(self) -> Control:
        return Control(
            clock=self._clock,
            apply=self.mark,
            follow=self.recorder.follow,
            health=self._health,
            hosts=frozenset({self._listen.host.lower()}) if self._listen.remote else frozenset(),
            token=self._listen.token if self._listen.remote else None,
            workers=1 if self._place is None else self._place.count,
            views=live_views(self._live, self._health, self.recorder),
        )

    def _on_bound(self, urls: list[str], intercept_url: str | None) -> None:
        """The listeners are there: the journal begins."""
        self._url = next((url for url in urls if self._listen.host in url), urls[0])
        if self._listen.everywhere:
            # For this machine's own clients, and for us; another machine knows this one by a name of its own.
            here = "[::1]" if ":" in self._listen.host else "127.0.0.1"
            self._url = f"http://{here}:{urls[0].rsplit(':', 1)[1]}"
        self._intercept_url = intercept_url
        self.recorder.journal.begin(upstream=self._upstream.url, listen=urls)
        self._started.set()

    def _note_settled(self, line: Mapping[str, Any]) -> None:
        self._live.note(line)
        if self._settled is not None:
            self._settled(line)

    def _health(self) -> dict[str, Any]:
        ring = KeyRing() if self._listen.remote else self._keys  # No id is shown to other machines.
        return {
            "submeter": submeter_version(),
            "ledger": str(self._ledger_path.absolute()),
            "upstream": self._upstream.url,
            "mode": self._mode,
            "intercept": self._intercept_url,
            "authority": str(self._authority),
            "keys": [[key.framework, key.fingerprint, key.api_key_id] for key in ring.keys],
            "token_ids": dict(ring.token_ids),
            "pid": os.getpid(),
            **held_now(self.recorder, self._place),
        }


def _leave_to_parent() -> None:
    running, ProxyServer._running = ProxyServer._running, None
    ProxyServer._one_at_a_time = threading.Lock()
    if running is not None:
        running.let_go_after_fork()


os.register_at_fork(after_in_child=_leave_to_parent)
