"""`python -m submeter.sim`: the simulator by itself, for clients that are not Python and for a look by hand.

Prints one JSON line with its address and keys, then serves until it is interrupted or its standard input is closed
(where `--until-eof` is given). Switches other than these few are for tests in process.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .script import Scripted, read_script
from .server import Sim
from .settings import DEFAULT_KEYS, Key


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; returns 0 once stopped."""
    parser = argparse.ArgumentParser(prog="python -m submeter.sim", description="A pretend OpenAI on loopback.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--seed", type=int, default=0, help="what all counts and ids follow from")
    parser.add_argument(
        "--key", action="append", default=[], metavar="SECRET=KEY_ID", help="an API key; may be given several times"
    )
    parser.add_argument("--admin-key", default="sk-admin-sim", help="the key for the organization's Usage API")
    parser.add_argument("--lag", type=float, default=300.0, help="seconds until the Usage API shows a call")
    parser.add_argument("--late-share", type=float, default=0.2, help="share of the calls billed a minute late")
    parser.add_argument("--chunk-delay", type=float, default=0.0, help="seconds between the chunks of a stream")
    parser.add_argument("--any-model", action="store_true", help="serve models that are not listed too")
    parser.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help='answers to give, a JSON list: [{"when": "a text in the request", "say": "text or JSON"}, '
        '{"call": {"name": "f", "arguments": {}}, "times": 2}]; the first that fits is used up ("times": 0: never)',
    )
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args(arguments)
    keys = [_key(text, parser) for text in options.key] or list(DEFAULT_KEYS)
    script: tuple[Scripted, ...] = ()
    if options.script is not None:
        try:
            script = read_script(options.script.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            parser.error(f"cannot use the script {options.script}: {problem}")
    sim = Sim(
        port=options.port,
        seed=options.seed,
        keys=keys,
        admin_key=options.admin_key,
        lag=options.lag,
        late_share=options.late_share,
        chunk_delay_s=options.chunk_delay,
        any_model=options.any_model,
        script=script,
    )
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        sim.start()
    except OSError as problem:
        print(f"cannot listen on 127.0.0.1:{options.port}: {problem.strerror}", file=sys.stderr)
        return 2
    try:
        told = {"url": sim.url, "base_url": sim.base_url, "keys": {key.secret: key.api_key_id for key in keys}}
        print(json.dumps({**told, "admin_key": sim.admin_key}), flush=True)
        if options.until_eof:
            sys.stdin.read()
        else:
            stop.wait()
    finally:
        sim.stop()
    return 0


def _key(text: str, parser: argparse.ArgumentParser) -> Key:
    secret, _, api_key_id = text.partition("=")
    if not secret or not api_key_id:
        parser.error(f"--key takes SECRET=KEY_ID, not {text!r}")
    return Key(secret=secret, api_key_id=api_key_id, name=api_key_id.removeprefix("key_"))


if __name__ == "__main__":
    sys.exit(main())
