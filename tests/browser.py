"""A headless Chromium, spoken to over a pipe: what a page shows, what it asks for, and what its console says.

The one wait is of the page itself: a promise of its own that is kept once something is so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "no Chromium is on this machine (Debian's package is chromium)"
WAIT_MS = 20_000
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)


class Page:
    """The one page of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to = to_browser
        self._from = from_browser
        self._number = 0
        self._waiting = b""
        self._session: str | None = None
        self.said: list[str] = []
        """What its console and its log said, errors and warnings."""
        self.asked: list[str] = []
        """The URL of every request."""

    def begin(self) -> None:
        """Make the page, and listen to it."""
        target = self._tell("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._tell("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._tell(f"{domain}.enable", {})

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """The size of its window, and whether its user likes it dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._tell("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._tell("Emulation.setEmulatedMedia", {"features": scheme})

    def open(self, url: str) -> None:
        told = self._tell("Page.navigate", {"url": url})
        assert "errorText" not in told, told

    def value(self, script: str) -> Any:
        """What an expression of JavaScript is in the page; a promise is waited for."""
        told = self._tell("Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True})
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        kept = (
            f"new Promise((kept) => {{ const until = Date.now() + {WAIT_MS}; const look = () => "
            f"({condition}) ? kept(true) : Date.now() > until ? kept(false) : setTimeout(look, 20); look(); }})"
        )
        assert self.value(kept), (condition, self.value("document.body.innerText"))

    def press(self, key: str) -> None:
        """Press and let go of one key, as a user at a keyboard."""
        text = {"Enter": "\r"}.get(key)
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self._tell("Input.dispatchKeyEvent", event | ({"text": text} if text and kind == "keyDown" else {}))

    def picture(self, path: Path) -> None:
        """A PNG of all of the page."""
        told = self._tell("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(told["data"]))

    def _tell(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                result: dict[str, Any] = heard["result"]
                return result
            self._note(heard)

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            data = os.read(self._from, 1 << 16)
            assert data, "the browser is gone"
            self._waiting += data
        line, _, self._waiting = self._waiting.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def _note(self, heard: dict[str, Any]) -> None:
        told = heard.get("params", {})
        match heard.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.said.append(str(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.said.append(str(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.said.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """A browser with one page, and a profile in this folder."""
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", command, CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    page = Page(ours_out, ours_in)
    try:
        page.begin()
        yield page
    finally:
        os.close(ours_out)
        process.terminate()
        process.wait(30)
        os.close(ours_in)
