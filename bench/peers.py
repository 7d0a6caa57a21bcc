"""The peers that `bench_proxy.py --peers` measures, each installed into an environment of its own under `.bench/`.

    litellm   LiteLLM's proxy from PyPI, one worker, no database, no master key
    portkey   Portkey's gateway from npm, with the @hono/node-server 1.3.3 that its streams want

Both read the request, translate it and write the answer anew. Neither is asked to log or store anything.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = ("litellm", "portkey")
_LITELLM = "litellm[proxy]"
# As an override: the gateway brings a newer one of its own, with which every stream is a 500.
_PORTKEY = {"dependencies": {"@portkey-ai/gateway": "*"}, "overrides": {"@hono/node-server": "1.3.3"}}


def command(name: str, kept: Path, port: int, upstream_url: str, folder: Path) -> list[str]:
    """What starts a peer on this port; installs it first where it is not there yet."""
    return (_litellm if name == "litellm" else _portkey)(kept / name, port, upstream_url, folder)


def environment(name: str, upstream_url: str) -> dict[str, str]:
    """The variables that a peer needs."""
    if name == "litellm":
        return {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    host = upstream_url.partition("://")[2].partition(":")[0]
    return {"TRUSTED_CUSTOM_HOSTS": host, "NODE_ENV": "production"}


def headers(name: str, upstream_url: str) -> bytes:
    """The header lines that a call through a peer needs beside those it always has."""
    if name != "portkey":
        return b""
    return b"x-portkey-provider: openai\r\nx-portkey-custom-host: %b/v1\r\n" % upstream_url.encode()


def _litellm(home: Path, port: int, upstream_url: str, folder: Path) -> list[str]:
    program = home / "env" / "bin" / "litellm"
    if not (home / "whole").exists():
        _begin(home)
        subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
        subprocess.run([str(program.parent / "python"), "-m", "pip", "install", "--quiet", _LITELLM], check=True)
        (home / "whole").touch()
    params = {"model": "openai/gpt-4o-mini", "api_base": f"{upstream_url}/v1", "api_key": "sk-bench"}
    # JSON is YAML.
    config = {"model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}]}
    (folder / "config.yaml").write_text(json.dumps(config))
    return [str(program), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]


def _portkey(home: Path, port: int, upstream_url: str, folder: Path) -> list[str]:
    if not (home / "whole").exists():
        _begin(home)
        (home / "package.json").write_text(json.dumps(_PORTKEY))
        subprocess.run(["npm", "install", "--silent", "--no-audit"], cwd=home, check=True)
        (home / "whole").touch()
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return ["node", str(script), f"--port={port}", "--headless"]


def _begin(home: Path) -> None:
    print(f"installing {home.name} ...", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
