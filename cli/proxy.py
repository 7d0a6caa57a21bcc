"""`submeter proxy`: the meter in the foreground, until it is told to stop.

What it prints is talk (stderr): where it listens and the line that points a framework at it. Stopping is clean on
SIGINT, SIGTERM and SIGHUP: the listener closes, open calls are waited for, what is left is cut and written down. One
that was started deaf to SIGHUP, as under `nohup`, stays so.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click
import orjson

from ..data.error import SubmeterError
from ..data.journal import submeter_version
from ..data.keys import KeyRing, read_keys
from ..proxy.authority import authority_certificate
from ..proxy.board import WORKERS_MAX
from ..proxy.control_client import TOKEN_VARIABLE
from ..proxy.listen import Listen
from .invocation import CANNOT_TELL, ENV_FILE, Invocation, ledger_option, pass_invocation
from .output import say
from .proxy_log import LogFormat, Logged, ProxyLog

if TYPE_CHECKING:
    from ..proxy.serve import ProxyServer
    from ..proxy.workers import Workers

DEFAULT_LISTEN = "127.0.0.1:8787"
DRAIN = "drain"
"""What `--drain` without a number stands for."""
WATCH_EVERY_S = 0.25
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_STOP_S = 1.0
WORKER = (sys.executable, "-P", "-m", "submeter.cli.worker")
"""A worker's process. `-P`: no module of the working directory stands before the library's own."""


@click.command()
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; a port alone is one of 127.0.0.1, port 0 is any free one.",
)
@click.option(
    "--upstream",
    default="https://api.openai.com",
    show_default=True,
    metavar="URL",
    help="Where calls go; may have a path. HTTPS_PROXY and NO_PROXY are honoured on the way there.",
)
@click.option(
    "--intercept",
    "intercept_port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Also be an HTTPS proxy on this port of 127.0.0.1, for programs that hard-code https://api.openai.com.",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help=f"Let --listen be more than this machine. Clients then need the token in {TOKEN_VARIABLE}.",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for open calls when told to stop.",
)
@click.option(
    "--drain",
    is_flag=False,
    flag_value=DRAIN,
    default="",
    metavar="",
    help="Read an answer whose client left to its end, up to 10 minutes and 64 MiB, so that its usage is known. The "
    "provider then goes on generating, and bills it. (With a number of seconds it is --grace, as it once was.)",
)
@click.option(
    "--receipts",
    is_flag=True,
    help="Look a stored response up once, with the caller's key, where its client left before the usage came.",
)
@click.option(
    "--log",
    "logged",
    type=click.Choice([one.value for one in Logged]),
    default=Logged.PROBLEMS.value,
    show_default=True,
    help="Calls that have a line on stderr: those not plainly metered (refused, failed, aborted, ...), all, or none.",
)
@click.option(
    "--log-format",
    "form",
    type=click.Choice([one.value for one in LogFormat]),
    default=LogFormat.TEXT.value,
    show_default=True,
    help="What stderr holds: text for people, or one JSON object a line, the start and the stop too.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the port and the ledger, for more calls than one core carries. One that dies is started "
    "again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print where it listens as one line of JSON, once it does.")
@click.option("--until-eof", is_flag=True, help="Stop when stdin ends too, so with the program that started it.")
@ledger_option
@pass_invocation
def proxy(
    invocation: Invocation,
    listen: str,
    upstream: str,
    intercept_port: int | None,
    allow_remote: bool,
    grace_s: float,
    drain: str,
    receipts: bool,
    logged: str,
    form: str,
    workers: int,
    as_json: bool,
    until_eof: bool,
) -> None:
    """Meter every call that comes by, until Ctrl-C.

    Bodies pass untouched; one row is written per call, with the framework of its key, its run and its step. Framework
    keys are OPENAI_API_KEY_<FRAMEWORK>, their ids OPENAI_API_KEY_<FRAMEWORK>_ID, from the environment or ./.env. A
    browser at its address shows what it meters, live.

    \b
    Example:
        submeter proxy --listen 127.0.0.1:8787
    """
    leave_no_core()
    host, port = parse_listen(listen)
    keys = read_keys(os.environ, ENV_FILE)
    keys.check_apart()
    if drain not in ("", DRAIN):
        grace_s, drain = parse_older_drain(drain), ""
    listening = Listen(
        host=host,
        port=port,
        remote=allow_remote,
        token=os.environ.get(TOKEN_VARIABLE),
        intercept_port=intercept_port,
    )
    log = ProxyLog(Logged(logged), LogFormat(form), invocation.clock)
    server, counts = _server(
        invocation,
        keys,
        listening,
        upstream,
        log,
        workers=workers,
        grace_s=grace_s,
        receipts=receipts,
        drain=bool(drain),
    )
    with closing(log), stop_signals() as told_to_stop:
        server.start()
        try:
            _tell_start(server, upstream, invocation, keys, listening, log)
            if as_json:
                told = {"url": server.url, "intercept": server.intercept_url, "authority": server.authority}
                sys.stdout.write(orjson.dumps({**told, "pid": os.getpid()}, default=str).decode() + "\n")
                sys.stdout.flush()
            if until_eof:
                threading.Thread(target=wait_for_eof, args=(told_to_stop,), daemon=True).start()
            while not told_to_stop.is_set():
                if server.wait(WATCH_EVERY_S):
                    raise SubmeterError(
                        "The proxy ended by itself.",
                        "Its event loop ended, or no worker can be started; calls that had ended are in the journal.",
                        "Start it again: submeter proxy; and see: submeter ledger check",
                        exit_code=CANNOT_TELL,
                    )
            stopping = f"Stopping; open calls have up to {grace_s:g} s to end." if grace_s else "Stopping."
            log.event("stopping", stopping, grace_s=grace_s, calls_open=server.calls_open)
        finally:
            server.stop(grace_s)
            calls, problems = counts()
            summary = f"Stopped: {calls:,} call{'' if calls == 1 else 's'}, {problems:,} of them not plainly metered."
            log.event("stop", summary, calls=calls, problems=problems)
    if (unwritten := server.unwritten) is not None:
        raise unwritten


def leave_no_core() -> None:
    """Have a crash of this process leave no core file: it would hold every key that clients and environment show."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _server(
    invocation: Invocation,
    keys: KeyRing,
    listening: Listen,
    upstream: str,
    log: ProxyLog,
    *,
    workers: int,
    grace_s: float,
    receipts: bool,
    drain: bool,
) -> tuple[ProxyServer | Workers, Callable[[], tuple[int, int]]]:
    """The proxy, in this process or in several; and what tells how many calls ended, and how many not plainly."""
    from ..proxy.serve import ProxyServer  # It takes a while to import.
    from ..proxy.upstream_url import parse_upstream

    address = parse_upstream(upstream)
    if workers == 1:
        alone = ProxyServer(
            ledger=invocation.ledger,
            listen=listening,
            upstream=address,
            clock=invocation.clock,
            keys=keys,
            receipts=receipts,
            drain=drain,
            settled=log.call,
        )
        return alone, lambda: log.counts
    from ..proxy.workers import Workers

    several = Workers(
        ledger=invocation.ledger,
        listen=listening,
        upstream=address,
        clock=invocation.clock,
        keys=keys,
        count=workers,
        command=WORKER,
        grace_s=grace_s,
        receipts=receipts,
        drain=drain,
        logged=log.logged,
        log_format=log.form,
    )
    return several, lambda: several.counts


def parse_older_drain(text: str) -> float:
    """The number behind a `--drain` of older scripts."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SubmeterError(
            f"--drain takes no {text!r}.",
            "It stands alone; a number of seconds behind it is what --grace is now.",
            "Write: submeter proxy --drain, or: submeter proxy --grace 10",
        )
    return seconds


def parse_listen(listen: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:PORT` or `PORT` as host and port."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise SubmeterError(
            f"There is no listening on {listen!r}.",
            "It is a host and a port, or a port of this machine alone.",
            f"Try: submeter proxy --listen {DEFAULT_LISTEN}",
        )
    return host, int(port)


def _tell_start(
    server: ProxyServer | Workers,
    upstream: str,
    invocation: Invocation,
    keys: KeyRing,
    listening: Listen,
    log: ProxyLog,
) -> None:
    """Where it listens and how it is reached: words for people, or one record."""
    log.event(
        "start",
        version=submeter_version(),
        url=server.url,
        upstream=upstream,
        ledger=str(invocation.ledger.absolute()),
        intercept=server.intercept_url,
        frameworks=[key.framework for key in keys.keys],
        pid=os.getpid(),
    )
    if not log.talks:
        return
    _greet(server.url, upstream, invocation, keys)
    _greet_others(server.url, listening)
    if server.intercept_url is not None and server.authority is not None:
        say("A program that hard-codes https://api.openai.com is metered with:")
        say(f"  submeter run --intercept --framework F -- CMD   (or HTTPS_PROXY={server.intercept_url},")
        say(f"  trusting {authority_certificate(server.authority)})")


def _greet(url: str, upstream: str, invocation: Invocation, keys: KeyRing) -> None:
    say(f"submeter {submeter_version()}: {url} -> {upstream}, into {invocation.ledger}")
    for key in keys.keys:
        say(f"  {key.framework}: {key.api_key_id or f'no id: set {key.variable}_ID before an audit'}")
    if not keys.keys:
        say("  no OPENAI_API_KEY_<FRAMEWORK> is set: calls are metered, but no framework is told from its key")
    say("Point a framework at it with:")
    say(f"  export OPENAI_BASE_URL={url}/v1")
    say(f"See it live in a browser: {url}/")


def _greet_others(url: str, listen: Listen) -> None:
    """How another machine is pointed at a listener that is open to it."""
    if not listen.remote:
        return
    name = socket.gethostname() if listen.everywhere else listen.host
    say("Another machine, or a container, gives the token, as X-Submeter-Token or in its base URL:")
    say(f"  export OPENAI_BASE_URL=http://{name}:{url.rpartition(':')[2]}/token/$SUBMETER_TOKEN/v1")
    if advice := listen.advice():
        say(advice)


def wait_for_eof(told_to_stop: threading.Event) -> None:
    """Read stdin to its end, and stop then. The descriptor itself, as the interpreter's lock on stdin outlives us."""
    while os.read(0, 4096):
        pass
    told_to_stop.set()


@contextmanager
def stop_signals(monotonic: Callable[[], float] = time.monotonic) -> Iterator[threading.Event]:
    """An event that the first of our signals sets; one that comes later does what it always did.

    What comes within `SAME_STOP_S` is the same stop: `timeout`, shells and supervisors tell a program and its process
    group, so that it hears of one stop twice.
    """
    told_to_stop = threading.Event()
    told_at: float | None = None
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        # Started under `nohup`, to go on when the terminal closes.
        del before[signal.SIGHUP]

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal told_at
        if told_at is None:
            told_at = monotonic()
            told_to_stop.set()
        elif monotonic() - told_at > SAME_STOP_S:
            put_back()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield told_to_stop
    finally:
        put_back()
