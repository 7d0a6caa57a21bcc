"""The environment of a command under `submeter run`: where the proxy is, which key is whose, what is in the way.

Mappings in, a mapping out, and words for the user. A key's value is only ever copied from one variable to another;
none is printed. What a variable must hold is decided in `submeter.proxy.environment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..audit.settings import ADMIN_KEYS
from ..data.env_file import read_env_file
from ..data.error import SubmeterError
from ..data.keys import ID_SUFFIX, PREFIX, KeyRing, fingerprint
from ..data.marks import run_name
from ..proxy.environment import BASE_URL_VARIABLES, base_url, client_environment, intercept_environment

KEY_VARIABLE = "OPENAI_API_KEY"
RUN_VARIABLE = "SUBMETER_RUN"
"""The name of the run that a program is part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a known framework needs beyond the base URL variables."""

    key_variables: tuple[str, ...] = (KEY_VARIABLE,)
    """Where it looks for its key."""
    intercept: bool = False
    """It hard-codes https://api.openai.com."""


PROFILES: Mapping[str, Profile] = {
    "baes": Profile(),
    # ChatDev 1.x reads BASE_URL for chat and OPENAI_BASE_URL for images; 2.x reads BASE_URL and API_KEY.
    "chatdev": Profile(key_variables=(KEY_VARIABLE, "API_KEY")),
    "ghspec": Profile(intercept=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the command's calls are labelled with."""

    framework: str
    run_id: str
    step: str | None = None

    @property
    def name(self) -> str:
        return run_name(self.framework, self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Where a proxy is met."""

    url: str
    intercept_url: str | None = None
    authority: str | None = None
    """The folder of its certificate authority; None: not known."""


def child_environment(
    before: Mapping[str, str],
    env_file: Path,
    at: Metered,
    *,
    label: Label,
    keys: KeyRing,
    profile: Profile,
    extra: Iterable[str],
    withheld: Iterable[str],
    say: Callable[[str], None],
) -> dict[str, str]:
    """A copy of `before`, pointed at the proxy for this label, with its framework's key, without what is withheld."""
    environment = pointed_environment(
        before, at, framework=label.framework, run_id=label.run_id, step=label.step, extra=extra, say=say
    )
    environment[RUN_VARIABLE] = label.name
    taken = [name for name in withheld if environment.pop(name, None) is not None]
    if taken:
        say(f"Kept from the command: {', '.join(taken)}; hand one on with --pass NAME.")
    environment.update(_keys_of(before, env_file, label.framework, keys, profile, say))
    return environment


def pointed_environment(
    before: Mapping[str, str],
    at: Metered,
    *,
    framework: str | None = None,
    run_id: str | None = None,
    step: str | None = None,
    extra: Iterable[str] = (),
    say: Callable[[str], None],
) -> dict[str, str]:
    """A copy of `before`, pointed at the proxy: by the base URL, or by its intercept port where `at` has one.

    The calls carry what is given of the label. For a command of `submeter run`, and for a shell (`submeter env`).
    """
    extra = tuple(extra)
    base = base_url(at.url, framework=framework, run_id=run_id, step=step)
    authority = Path(at.authority) if at.authority is not None else None
    if at.intercept_url is None or authority is None:
        return client_environment(before, base, extra, authority=authority)
    environment = client_environment(before, base, extra, authority=authority, named=())
    # Frameworks ask for less as soon as they see one: openai-agents leaves out `store` and a stream's usage.
    gone = [name for name in BASE_URL_VARIABLES if name not in extra and environment.pop(name, "")]
    if gone:
        say(f"Note: {', '.join(gone)} is taken out, as --intercept meters the API's own name.")
    environment, notes = intercept_environment(
        environment, at.intercept_url, framework=framework, run_id=run_id, step=step, authority=authority
    )
    for note in notes:
        say(note)
    return environment


def withheld_from(environment: Mapping[str, str], framework: str, passed: Iterable[str]) -> list[str]:
    """The variables that a command of this framework has no business with: admin keys, and other frameworks' keys."""
    own = f"{PREFIX}{framework.upper()}"
    secrets = [
        name
        for name in environment
        if name in ADMIN_KEYS or (name.startswith(PREFIX) and not name.endswith(ID_SUFFIX) and name.upper() != own)
    ]
    return sorted(set(secrets) - set(passed))


def check_variables(names: Iterable[str], option: str) -> None:
    """Raise a `SubmeterError` for what can be the name of no environment variable."""
    for name in names:
        if not name or "=" in name or "\0" in name:
            raise SubmeterError(
                f"{option} {name.partition('=')[0][:40]!r} is not the name of a variable.",
                "It holds an equals sign or a NUL." if name else "It is empty.",
                f"Give the name alone, such as: {option} MY_VARIABLE",
            )


def check_keys_of(environment: Mapping[str, str], framework: str, keys: KeyRing) -> None:
    """Raise a `SubmeterError` where this framework's calls could not be told from another's by their key."""
    keys.check_apart(framework)
    given = environment.get(KEY_VARIABLE)
    owner = keys.find(fingerprint(given)) if given else None
    if owner is not None and owner.framework != framework:
        raise SubmeterError(
            f"{KEY_VARIABLE} holds the key of {owner.framework}, and this is a run of {framework}.",
            "One key under two frameworks makes both their bills wrong.",
            f"Unset {KEY_VARIABLE}, and set OPENAI_API_KEY_{framework.upper()}; see: submeter doctor",
        )


def _keys_of(
    before: Mapping[str, str],
    env_file: Path,
    framework: str,
    keys: KeyRing,
    profile: Profile,
    say: Callable[[str], None],
) -> dict[str, str]:
    """The key variables to set."""
    key = keys.of_framework(framework)
    given = before.get(KEY_VARIABLE)
    secret = given
    if key is not None and not given:
        named = before.get(key.variable) or read_env_file(env_file).get(key.variable, "")
        secret = named.strip()
        say(f"{KEY_VARIABLE} is set to {key.variable} for the command.")
    elif key is not None and given and fingerprint(given) != key.fingerprint:
        say(f"Note: {KEY_VARIABLE} and {key.variable} differ; calls with the first have no key id.")
    if not secret:
        return {}
    return {variable: secret for variable in profile.key_variables if not before.get(variable)}
