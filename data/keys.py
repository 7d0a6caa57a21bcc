"""Framework keys: which API key belongs to which framework, and its `key_...` id.

A framework's key is the variable `OPENAI_API_KEY_<FRAMEWORK>`, its id `OPENAI_API_KEY_<FRAMEWORK>_ID`, from the
environment, else from `.env` in the working directory (the users' own convention). `..._USAGE_TRACKING` is an admin
key under their old name and `..._ID` an id: neither is a framework. An id without its key is that of a framework whose
calls carry tokens that change (workload identity): whatever key such a call has, that is its id.

The ring holds fingerprints. `named_secret` alone hands a secret out, to be sent with a call or held against a redacted
one, never to be shown or kept. Admin variables are never looked at here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .env_file import read_env_file
from .error import SubmeterError
from .masking import looks_secret

PREFIX = "OPENAI_API_KEY_"
ID_SUFFIX = "_ID"
ADMIN_NAME = "USAGE_TRACKING"
KEY_ID = re.compile(r"key_[A-Za-z0-9_-]+")
FINGERPRINT_HEX_DIGITS = 16
REDACTED = re.compile(r"[*\u2022\u2026]+|\.{2,}")
"""What stands in a redacted secret for what is left out."""
REDACTED_END_CHARS = 3
"""With less than this of its end shown, a redacted secret tells too little to know a key by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkKey:
    """One framework's key, without its secret."""

    framework: str
    """Lower case: `OPENAI_API_KEY_CHATDEV` is `chatdev`."""
    fingerprint: str
    api_key_id: str | None
    """`key_...`, as the Usage API names it; None: none configured."""
    variable: str
    """The variable it was read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """All framework keys that are configured. Two frameworks may (wrongly) share a secret: both are here."""

    keys: tuple[FrameworkKey, ...] = ()
    token_ids: Mapping[str, str] = field(default_factory=dict)
    """Framework to `key_...` id, of frameworks that have an id and no key: their tokens change."""

    def find(self, fingerprint: str | None) -> FrameworkKey | None:
        """The key with this fingerprint; None where it is not configured, or not of one framework alone."""
        found = [key for key in self.keys if key.fingerprint == fingerprint]
        return found[0] if len(found) == 1 else None

    def of_framework(self, framework: str) -> FrameworkKey | None:
        """The key of this framework; None: none configured."""
        return next((key for key in self.keys if key.framework == framework.lower()), None)

    def id_of_tokens(self, framework: str | None) -> str | None:
        """The id of the tokens that calls of this framework carry; None: it has a key, or no id is configured."""
        return None if framework is None else self.token_ids.get(framework.lower())

    def shared(self) -> list[tuple[FrameworkKey, ...]]:
        """Keys that more than one framework uses: their traffic cannot be told apart by key."""
        by_fingerprint: dict[str, list[FrameworkKey]] = {}
        for key in self.keys:
            by_fingerprint.setdefault(key.fingerprint, []).append(key)
        return [tuple(same) for same in by_fingerprint.values() if len(same) > 1]

    def shared_ids(self) -> list[tuple[str, ...]]:
        """Frameworks that are given one key by an id alone, at least one of them: the bill cannot be told apart."""
        by_id: dict[str, list[str]] = {}
        for key in self.keys:
            if key.api_key_id is not None:
                by_id.setdefault(key.api_key_id, []).append(key.framework)
        for framework, api_key_id in self.token_ids.items():
            by_id.setdefault(api_key_id, []).append(framework)
        return [tuple(same) for same in by_id.values() if len(same) > 1 and not self.token_ids.keys().isdisjoint(same)]

    def check_apart(self, framework: str | None = None) -> None:
        """Raise a `SubmeterError` where this framework (None: any) shares its key with another."""
        for names in self.shared_ids():
            if framework is None or framework in names:
                raise SubmeterError(
                    f"One key is used for {' and '.join(names)}: they have the same id.",
                    "The Usage API tells calls apart by the ids of keys, and could not tell theirs.",
                    f"Give each its own key, and its id in {' and '.join(map(id_variable, names))}; "
                    "see: submeter doctor",
                )
        for same in self.shared():
            if framework is None or any(key.framework == framework for key in same):
                raise SubmeterError(
                    f"One key is used for {' and '.join(key.framework for key in same)}.",
                    "Their traffic could not be told apart, not by the meter and not by the Usage API.",
                    f"Give each its own key, in {' and '.join(key.variable for key in same)}; see: submeter doctor",
                )


def id_variable(framework: str) -> str:
    """The variable that holds the id of a framework's key."""
    return f"{PREFIX}{framework.upper()}{ID_SUFFIX}"


def fingerprint(secret: str) -> str:
    """The first 16 hex digits of the SHA-256 of an API key: all that is ever written of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:FINGERPRINT_HEX_DIGITS]


def read_keys(environment: Mapping[str, str], env_file: Path | None = None) -> KeyRing:
    """The framework keys named by the environment, and by `env_file` where the environment does not name them.

    Raises `SubmeterError` for an id that looks like a secret: an id is written down and shown.
    """
    named = _named(environment, env_file)
    for variable in sorted(named):
        if _framework_of_id(variable) is not None:
            _check_no_secret(variable, named[variable].strip(), named.get(variable.removesuffix(ID_SUFFIX), "").strip())
    keys = []
    for variable in sorted(named):
        name = variable.removeprefix(PREFIX)
        if name in (variable, ADMIN_NAME, "") or name.endswith(ID_SUFFIX):
            continue
        secret = named[variable].strip()
        if not secret:
            continue
        api_key_id = named.get(variable + ID_SUFFIX, "").strip() or None
        keys.append(
            FrameworkKey(
                framework=name.lower(), fingerprint=fingerprint(secret), api_key_id=api_key_id, variable=variable
            )
        )
    configured = {key.framework for key in keys}
    token_ids = {
        framework: value.strip()
        for variable, value in named.items()
        if (framework := _framework_of_id(variable)) is not None
        and framework not in configured
        and KEY_ID.fullmatch(value.strip())
    }
    return KeyRing(keys=tuple(keys), token_ids=token_ids)


def _framework_of_id(variable: str) -> str | None:
    """The framework whose id this variable holds; None: it holds none."""
    name = variable.removeprefix(PREFIX).removesuffix(ID_SUFFIX)
    if name in ("", ADMIN_NAME) or variable != f"{PREFIX}{name}{ID_SUFFIX}":
        return None
    return name.lower()


def _check_no_secret(variable: str, api_key_id: str, secret: str) -> None:
    if api_key_id and (api_key_id == secret or looks_secret(api_key_id)):
        raise SubmeterError(
            f"{variable} holds what looks like a secret, not the id of a key.",
            "Ids are written into the journal and shown, so nothing was written; its value is not repeated here.",
            f"Set {variable} to the id (key_...); find it with: submeter doctor --find-key-ids",
        )


def named_secret(key: FrameworkKey, environment: Mapping[str, str], env_file: Path | None = None) -> str | None:
    """The secret of a key, where it was read from; None where it is no longer there."""
    secret = _named(environment, env_file).get(key.variable, "").strip()
    return secret if secret and fingerprint(secret) == key.fingerprint else None


def shows(redacted: str, secret: str) -> bool:
    """Whether a secret redacted to its two ends (`sk-proj-abcd****wxyz`, `sk-abc...xyz`) may be this one."""
    parts = REDACTED.split(redacted.strip())
    if len(parts) < 2:
        return False
    begin, end = parts[0], parts[-1]
    return (
        len(end) >= REDACTED_END_CHARS
        and len(begin) + len(end) <= len(secret)
        and secret.startswith(begin)
        and secret.endswith(end)
    )


def _named(environment: Mapping[str, str], env_file: Path | None) -> dict[str, str]:
    """All variables, those of the environment before those of the file."""
    return read_env_file(env_file) | dict(environment)
