"""What the benches compare: each proxy, how it is installed and started, and the CPU that the system counts for it.

    submeter   this tree, as `submeter proxy` with its journal and ingest
    a2b2de9    the same command of that commit, when the proxy still stood on mitmproxy; installed from this
               repository's own history into an environment of its own under `.bench/`
    pipe       two asyncio connections with nothing in between: the least that a proxy in Python can cost
    nginx      as it is found on the path, one worker, unbuffered; left out where there is none
    litellm, portkey   the peers of `peers.py`

Each runs in a session of its own, so that what it starts is counted too. All loopback.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import peers

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".bench"
OLD = "a2b2de9"
SIDES = ("submeter", OLD, "pipe", "nginx")
TICKS = os.sysconf("SC_CLK_TCK")
START_S_MAX = 180.0
_NGINX = """
worker_processes 1;
daemon off;
error_log stderr crit;
pid {folder}/pid;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream api {{ server {authority}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {scheme}://api; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Host {host};
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {roots}; proxy_ssl_name {host}; proxy_ssl_server_name on;
    }}
  }}
}}
"""


class Side:
    """One proxy, running. `stop` ends it, and takes its files away."""

    def __init__(self, name: str, upstream_url: str, roots: Path | None = None) -> None:
        """`roots`: the certificate that vouches for an https upstream."""
        self.name = name
        self._files = tempfile.TemporaryDirectory()
        folder = Path(self._files.name)
        self.port = free_port()
        environment = os.environ | {"HOME": str(folder)} | ({"SSL_CERT_FILE": str(roots)} if roots else {})
        self.headers = b""
        if name in peers.PEERS:
            environment |= peers.environment(name, upstream_url)
            self.headers = peers.headers(name, upstream_url)
        self.process = subprocess.Popen(
            _command(name, self.port, upstream_url, folder, roots),
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "stderr").open("wb"),
            start_new_session=True,
        )
        wait_for(self.port, self.process)

    def cpu_s(self) -> float:
        """User and system CPU of all its processes so far."""
        return sum(cpu_s(pid) for pid in _session(self.process.pid))

    def resident_mib(self) -> float:
        """Memory of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _session(self.process.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        """Open files of all its processes."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in _session(self.process.pid))

    def hold_to(self, core: int) -> None:
        """Keep every thread of it on one processor."""
        for pid in _session(self.process.pid):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), {core})

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._files.cleanup()


def cpu_s(pid: int) -> float:
    """User and system CPU of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _session(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == leader:
                found.append(int(name))
        except ProcessLookupError:
            continue
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens there; raises where the process ended first."""
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not begin to listen") from None
            time.sleep(0.05)


def available(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the sides that can be had here; the others are named on stderr."""
    found = tuple(name for name in names if name != "nginx" or shutil.which("nginx"))
    for name in set(names) - set(found):
        print(f"{name} is not installed here, so it is left out", file=sys.stderr)
    return found


def _command(name: str, port: int, upstream_url: str, folder: Path, roots: Path | None) -> list[str]:
    if name in peers.PEERS:
        return peers.command(name, KEPT, port, upstream_url, folder)
    if name == "nginx":
        parts = urlsplit(upstream_url)
        text = _NGINX.format(
            folder=folder, port=port, scheme=parts.scheme, authority=parts.netloc, host=parts.hostname, roots=roots
        )
        lines = [line for line in text.splitlines() if roots or "proxy_ssl" not in line]
        (folder / "nginx.conf").write_text("\n".join(lines))
        return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    if name == "pipe":
        return [sys.executable, __file__, str(port), upstream_url, str(roots or "")]
    python = Path(sys.executable) if name == "submeter" else _old_environment()
    listen = ["--listen", f"127.0.0.1:{port}"]
    ledger = ["--ledger", str(folder / "bench.duckdb")]
    return [str(python.parent / "submeter"), "proxy", *listen, "--upstream", upstream_url, *ledger]


def _old_environment() -> Path:
    """The Python of an environment with the proxy of `OLD`, made where it is not there yet."""
    home = KEPT / OLD
    python = home / "env" / "bin" / "python"
    if (home / "whole").exists():
        return python
    print(f"installing {OLD} into {home.relative_to(ROOT)} ...", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    source = home / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", OLD], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "x", "-C", str(source)], input=archive.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
    constraints = str(source / "constraints.txt")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-c", constraints, str(source)], check=True)
    (home / "whole").touch()
    return python


class _Pipe(asyncio.Protocol):
    """One end; what comes goes out at the other."""

    def __init__(self, other: _Pipe | None, reach: tuple[str, int, ssl.SSLContext | None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._other = other
        self._reach = reach
        self._waiting: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._other is None:
            self._task = asyncio.ensure_future(self._connect())
        else:
            # At once: what comes before the task goes on is not to wait for ever.
            self._other._other = self
            for data in self._other._waiting:
                transport.write(data)

    async def _connect(self) -> None:
        host, port, context = self._reach
        other = _Pipe(self, self._reach)
        name = host if context else None
        await asyncio.get_running_loop().create_connection(lambda: other, host, port, ssl=context, server_hostname=name)

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._other.transport is None:
            self._waiting.append(data)
        else:
            self._other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()


async def _pipe(port: int, upstream_url: str, roots: str) -> None:
    parts = urlsplit(upstream_url)
    reach = (parts.hostname or "", parts.port or 443, ssl.create_default_context(cafile=roots) if roots else None)
    server = await asyncio.get_running_loop().create_server(lambda: _Pipe(None, reach), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_pipe(int(sys.argv[1]), *sys.argv[2:]))
