"""`submeter env`: the lines that point a shell, or an orchestrator, at a proxy that runs.

The variables and their values are those that `submeter run` gives to its command (`run_environment`). No secret is
printed: a key stays where it is, and calls are told apart by it. Never here: starting a proxy, and marks.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from ..data.error import SubmeterError
from ..data.marks import check_framework, check_step, run_name
from ..data.paths import DEFAULT_LEDGER
from ..proxy.control import named_run
from ..proxy.control_client import read_health
from ..proxy.environment import BASE_URL_VARIABLES, INTERCEPT_VARIABLES, POINTING_VARIABLES
from .invocation import CANNOT_TELL, Invocation, env_option, json_option, ledger_option, pass_invocation
from .output import print_json, say
from .run import LOOPBACK_HOSTS
from .run_environment import RUN_VARIABLE, Metered, check_variables, pointed_environment
from .running import running_proxies

DEFAULT_PROXY = "http://127.0.0.1:8787"
"""Where `submeter proxy` listens if it is not told where."""
LEDGER_VARIABLE = "SUBMETER_LEDGER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a shell is to be told."""

    exported: Mapping[str, str]
    unset: tuple[str, ...]
    """Variables that stand in the way."""

    def lines(self) -> list[str]:
        """As a POSIX shell reads them."""
        unset = [f"unset {name}" for name in self.unset]
        return unset + [f"export {name}={shlex.quote(value)}" for name, value in self.exported.items()]


@click.command()
@click.option("--intercept", is_flag=True, help="For programs that hard-code https://api.openai.com; sets no base URL.")
@click.option("--framework", metavar="F", help="The framework of the calls. Default: that of their key.")
@click.option("--run", "run", metavar="R", help="The run of the calls, as ID or FRAMEWORK/ID.")
@click.option("--step", metavar="S", help="The step of the calls.")
@env_option
@click.option(
    "--proxy",
    "proxy_url",
    metavar="URL",
    help="The proxy to point at, as a URL or HOST:PORT. "
    f"Default: the one of the ledger that runs here, else {DEFAULT_PROXY}.",
)
@json_option
@ledger_option
@pass_invocation
def env(
    invocation: Invocation,
    intercept: bool,
    framework: str | None,
    run: str | None,
    step: str | None,
    extra: tuple[str, ...],
    proxy_url: str | None,
    as_json: bool,
) -> None:
    """Print the lines that point a shell's programs at a running proxy.

    They are what `submeter run` gives to its command: base URLs, or with --intercept HTTPS_PROXY and the certificates
    to trust; NO_PROXY; and SUBMETER_LEDGER, so that submeter step and submeter runs speak of the same ledger. Keys stay
    as they are, and none is printed: a program that runs several frameworks, each with a key of its own, is metered
    without a label. A label that is given here holds until the shell is told another one. Exit code 3 where no proxy
    runs.

    \b
    Example:
        eval "$(submeter env --intercept)"
        eval "$(submeter env --run chatdev/r-1 --step 1)"
        submeter env --framework chatdev --run r-1 --json
    """
    check_variables(extra, "--env")
    framework, run_id = _named(framework, run)
    step = check_step(step) if step is not None else None
    url, health = find_proxy(invocation, proxy_url, intercept=intercept)
    at = Metered(url=url, intercept_url=health.get("intercept"), authority=health.get("authority"))
    if intercept:
        check_intercept(at)
    else:
        at = replace(at, intercept_url=None)
    label = {"framework": framework, "run_id": run_id, "step": step}
    after = pointed_environment(os.environ, at, **label, extra=extra, say=say)
    told = {RUN_VARIABLE: run_name(framework, run_id)} if run_id is not None else {}
    if isinstance(ledger := health.get("ledger"), str):
        told[LEDGER_VARIABLE] = ledger
    settings = settings_of(os.environ, after, told, extra, intercept=intercept)
    if as_json:
        print_json({"proxy": url, "export": settings.exported, "unset": settings.unset})
        return
    for line in settings.lines():
        click.echo(line)


def settings_of(
    before: Mapping[str, str],
    after: Mapping[str, str],
    told: Mapping[str, str],
    extra: tuple[str, ...],
    *,
    intercept: bool,
) -> Settings:
    """What leads from one environment to the other; also what is so already, as the lines may be for another shell."""
    names = (*(INTERCEPT_VARIABLES if intercept else POINTING_VARIABLES), *extra)
    exported = {name: after[name] for name in dict.fromkeys(names) if name in after}
    unset = tuple(name for name in BASE_URL_VARIABLES if name in before and name not in after)
    return Settings(exported=exported | dict(told), unset=unset)


def find_proxy(invocation: Invocation, given: str | None, *, intercept: bool = False) -> tuple[str, dict[str, Any]]:
    """The URL of a proxy that runs, and what it says of itself; raises `SubmeterError` where none answers.

    The given one; else one of the ledger, of several one that intercepts where that is asked for; else, where no ledger
    was named, the one at the default address, whatever its ledger: a framework's folder is seldom the proxy's.
    """
    if given is not None:
        url = url_of(given)
        _check_here(url)
        health = read_health(url)
        if health is None or "submeter" not in health:
            raise _nobody(f"No proxy of submeter answers at {url}")
        return url, health
    found = [
        (proxy.listen, health)
        for proxy in running_proxies(invocation.ledger)
        if urlsplit(proxy.listen).hostname in LOOPBACK_HOSTS and (health := read_health(proxy.listen)) is not None
    ]
    if found:
        return next(((url, health) for url, health in found if health.get("intercept") or not intercept), found[0])
    if invocation.ledger != Path(DEFAULT_LEDGER):
        raise _nobody(f"No proxy of {invocation.ledger} runs on this machine.")
    health = read_health(DEFAULT_PROXY)
    if health is None or "submeter" not in health:
        raise _nobody(f"No proxy runs at {DEFAULT_PROXY}, and none of {invocation.ledger} at another address.")
    say(f"Note: the proxy at {DEFAULT_PROXY} writes into {health.get('ledger')}.")
    return DEFAULT_PROXY, health


def url_of(given: str) -> str:
    """A proxy's URL from what a user calls it by: HOST:PORT, its URL, or the base URL of its clients."""
    url = given if "://" in given else f"http://{given}"
    return url.rstrip("/").removesuffix("/v1")


def _named(framework: str | None, run: str | None) -> tuple[str | None, str | None]:
    """Framework and run id as they were given, the framework by itself or with the run."""
    framework = check_framework(framework.lower()) if framework is not None else None
    return named_run(run, framework) if run is not None else (framework, None)


def _check_here(url: str) -> None:
    """Raise a `SubmeterError` for what is no URL of a proxy on this machine."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS and parts.port != 0 and not parts.path:
            return
    except ValueError:
        pass
    raise SubmeterError(
        f"{url[:80]!r} is no proxy on this machine.",
        "Proxies beyond it ask for their token, and no secret is printed here.",
        f"Name one as {DEFAULT_PROXY}; or write: export OPENAI_BASE_URL=http://HOST:8787/token/$SUBMETER_TOKEN/v1",
    )


def check_intercept(at: Metered) -> None:
    """Raise a `SubmeterError` for a proxy that HTTPS cannot go through."""
    if at.intercept_url is None or at.authority is None:
        raise SubmeterError(
            f"The proxy at {at.url} does not intercept.",
            "It was started without --intercept, so it has no port that HTTPS can go through.",
            "Stop it and start it again with: submeter proxy --intercept 8788",
        )


def _nobody(what: str) -> SubmeterError:
    return SubmeterError(
        what,
        "A shell that is pointed at nothing makes no call at all.",
        "Start one first: submeter proxy --intercept 8788; or name another with --proxy URL",
        exit_code=CANNOT_TELL,
    )
