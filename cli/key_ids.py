"""`submeter doctor --find-key-ids`: the `key_...` id of each framework's key, as lines for `.env`.

First by the ends that the projects API shows of every key, where the admin key may list them; where that says nothing,
or fits two, by one small call with the key itself, which the Usage API then shows under its id. That call goes through
the meter like any other (run `_submeter/canary`), so the next audit of the key knows of it, and so does the next
`--find-key-ids`, which looks for it instead of making another. It is never made unasked.

No secret is printed: ids and variables are data, all else is talk.
"""

from __future__ import annotations

import http.client
import json
import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import click

from ..data.clock import US_PER_MINUTE, US_PER_S
from ..data.error import SubmeterError
from ..data.keys import KEY_ID, FrameworkKey, KeyRing, named_secret, read_keys, shows
from ..data.paths import journal_folder
from .invocation import CANNOT_TELL, DIFFER, ENV_FILE, FINE, Invocation, named_environment
from .output import print_json, say
from .waiting import wait_until

if TYPE_CHECKING:
    from ..audit.key_ids import CanaryCall
    from ..audit.usage_api import UsageApi

CANARY_MODEL = "gpt-4o-mini"
CANARY_FRAMEWORK = "_submeter"
CANARY_RUN = "canary"
CANARY_WORDS = range(200, 1_201)
"""Words of its question, drawn anew for each, so that its tokens are hardly anyone else's."""
CANARY_OUTPUT = range(16, 129)
"""Tokens after which its answer is cut off, drawn for the same reason: a question without an end fills them."""
CANARY_TIMEOUT_S = 120.0
LOOK_EVERY_S = 60
SEEN_WITHIN_MIN = 60
"""What the Usage API has not shown by then it is not waited for."""
ASKED_AGAIN_AFTER_MIN = 24 * 60
"""Only then another canary is offered for the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAnswer:
    """What was found out of one framework's key."""

    key: FrameworkKey
    api_key_id: str | None = None
    found_by: str | None = None
    """`redacted_value`, `canary`, or None: not found."""
    said: str = ""
    candidates: tuple[str, ...] = ()
    """The only ids that it can have, by their ends, where more than one key shows these."""
    looks_like: tuple[str, ...] = ()
    """The ids under which its canary may be shown, where that does not decide."""
    not_its: frozenset[str] = frozenset()
    """The ids of keys that show other ends than this one has."""
    canary: CanaryCall | None = None
    """One that was made, and is not seen yet."""

    @property
    def variable(self) -> str:
        return f"{self.key.variable}_ID"

    @property
    def set_wrong(self) -> bool:
        """Whether another id is configured than was found, or one that cannot be its."""
        configured = self.key.api_key_id
        if self.api_key_id is None:
            return configured in self.not_its
        return configured not in (None, self.api_key_id)

    @property
    def missing(self) -> bool:
        """Whether no id was found and none that can be one is configured."""
        return self.api_key_id is None and not KEY_ID.fullmatch(self.key.api_key_id or "")


def find_key_ids(invocation: Invocation, *, upstream: str, model: str, yes: bool, wait: bool, as_json: bool) -> int:
    """Find what can be found, print the lines to put into `.env`; the exit code."""
    from ..audit.settings import ADMIN_KEYS, read_settings
    from ..audit.usage_api import UsageApi

    ring = read_keys(os.environ, ENV_FILE)
    if not ring.keys:
        raise SubmeterError(
            "No framework key is set, so there is none whose id could be found.",
            "Looked for OPENAI_API_KEY_<FRAMEWORK> in the environment and in ./.env.",
            "Set them, then try again: submeter doctor --find-key-ids",
        )
    ring.check_apart()
    settings = read_settings(named_environment())
    if settings.admin_key is None:
        raise SubmeterError(
            "No admin key is set, so nobody can be asked for the ids of keys.",
            f"Looked for {', '.join(ADMIN_KEYS)} in the environment and in ./.env.",
            f"Set {ADMIN_KEYS[0]}, then try again: submeter doctor --find-key-ids",
            exit_code=CANNOT_TELL,
        )
    with UsageApi(settings, clock=invocation.clock) as client:
        answers = _by_ends(client, ring)
        answers = _by_earlier_canaries(invocation, client, answers)
        chosen = [each.key for each in answers if each.missing and each.canary is None]
        if chosen and _could_be_seen(invocation, client) and _may_call(chosen, model, yes):
            refused = _make_canaries(invocation, chosen, upstream, model)
            answers = [replace(each, said=refused.get(each.key.framework, each.said)) for each in answers]
            answers = _by_earlier_canaries(invocation, client, answers)
        if wait:
            answers = _await_canaries(invocation, client, answers)
    for each in answers:
        say(f"{each.key.framework}: {each.said}")
    if as_json:
        print_json([_record(each) for each in answers])
    else:
        new = [each for each in answers if each.api_key_id not in (None, each.key.api_key_id)]
        if new:
            say("Put into .env; it also stands for the calls that were metered before:")
        for each in new:
            click.echo(f"{each.variable}={each.api_key_id}")
    if any(each.set_wrong for each in answers):
        return DIFFER
    return CANNOT_TELL if any(each.api_key_id is None for each in answers) else FINE


def _by_ends(client: UsageApi, ring: KeyRing) -> list[KeyAnswer]:
    """What the projects API tells of each key."""
    from ..audit.bucket import BadRead
    from ..audit.key_ids import decide, list_project_keys

    say("Listing the keys of the organization's projects ...")
    try:
        listed = list_project_keys(client)
    except BadRead as bad:
        why = f"the keys of projects cannot be listed with this admin key ({bad.message})"
        return [_not_by_ends(key, why) for key in ring.keys]
    ends: dict[str, list[str]] = {}
    readable = {each.api_key_id for each in listed if shows(each.redacted_value, each.redacted_value)}
    for key in ring.keys:
        secret = named_secret(key, os.environ, ENV_FILE) or ""
        ends[key.fingerprint] = [each.api_key_id for each in listed if shows(each.redacted_value, secret)]
    decided = decide(ends)
    answers = []
    for key in ring.keys:
        fitting, found = tuple(ends[key.fingerprint]), decided[key.fingerprint]
        if found is not None:
            answers.append(_found(KeyAnswer(key=key), found, "redacted_value"))
            continue
        if len(fitting) > 1:
            why = f"{len(fitting)} keys show these two ends ({', '.join(fitting)}), so they do not tell which it is"
        elif fitting:
            why = f"{fitting[0]} shows two ends that another framework's key has too, so they do not tell whose it is"
        else:
            why = "no key of the projects that this admin key can list shows its two ends"
        answers.append(_not_by_ends(key, why, fitting, readable.difference(fitting)))
    return answers


def _not_by_ends(
    key: FrameworkKey, why: str, candidates: tuple[str, ...] = (), not_its: Collection[str] = ()
) -> KeyAnswer:
    answer = KeyAnswer(key=key, candidates=candidates, not_its=frozenset(not_its))
    if answer.set_wrong:
        why = f"{answer.variable} is {key.api_key_id}, which is wrong: that key shows other ends; {why}"
    elif not answer.missing:
        why = f"{answer.variable} is set to {key.api_key_id}, which could not be confirmed: {why}"
    return replace(answer, said=why)


def _found(answer: KeyAnswer, api_key_id: str, found_by: str) -> KeyAnswer:
    how = {"redacted_value": "by the two ends that its project shows", "canary": "by its canary call"}[found_by]
    answer = replace(answer, api_key_id=api_key_id, found_by=found_by, canary=None)
    if answer.set_wrong:
        return replace(
            answer, said=f"{api_key_id}, {how}; {answer.variable} is {answer.key.api_key_id}, which is wrong"
        )
    already = ", as is set" if answer.key.api_key_id == api_key_id else ""
    return replace(answer, said=f"{api_key_id}, {how}{already}")


def _by_earlier_canaries(invocation: Invocation, client: UsageApi, answers: Sequence[KeyAnswer]) -> list[KeyAnswer]:
    """Look for the last canary of each key that has no id yet, if one was made within a day."""
    from ..audit.key_ids import CanaryCall

    if not any(each.missing for each in answers) or not (
        invocation.ledger.exists() or journal_folder(invocation.ledger).is_dir()
    ):
        return list(answers)
    last: dict[str, CanaryCall] = {}
    for fingerprint, started_us, ended_us, model, given, written in invocation.open_ledger().query("canary_calls").rows:
        if invocation.clock.now_us() - started_us < ASKED_AGAIN_AFTER_MIN * US_PER_MINUTE:
            call = CanaryCall(
                started_us=started_us, ended_us=ended_us, model=model, input_tokens=given, output_tokens=written
            )
            last.setdefault(fingerprint, call)
    return _look_for_all(
        invocation,
        client,
        [replace(each, canary=last.get(each.key.fingerprint)) if each.missing else each for each in answers],
    )


def _look_for_all(invocation: Invocation, client: UsageApi, answers: Sequence[KeyAnswer]) -> list[KeyAnswer]:
    """Look for every canary that is not seen yet; what is found of one key cannot be another's."""
    found = list(answers)
    for number, each in enumerate(found):
        if each.canary is not None and each.missing:
            others = {other.api_key_id for other in found if other.api_key_id is not None}
            found[number] = _look(invocation, client, each, others | each.not_its)
    return found


def _could_be_seen(invocation: Invocation, client: UsageApi) -> bool:
    """Whether the Usage API can be read: a call that cannot be looked for is not paid for."""
    from ..audit.bucket import BadRead
    from ..audit.key_ids import check_readable

    try:
        check_readable(client, now_us=invocation.clock.now_us())
    except BadRead as bad:
        say(f"No call is offered or made: the Usage API could not be asked for it afterwards ({bad.message})")
        return False
    return True


def _look(invocation: Invocation, client: UsageApi, answer: KeyAnswer, others: Collection[str]) -> KeyAnswer:
    """Whether the Usage API shows a key's canary by now."""
    from ..audit.bucket import BadRead
    from ..audit.key_ids import sight_canary

    canary = answer.canary
    assert canary is not None
    now_us = invocation.clock.now_us()
    try:
        seen = sight_canary(client, canary, now_us=now_us, among=answer.candidates, others=others)
    except BadRead as bad:
        return replace(answer, said=f"its canary call cannot be looked for: {bad.message}")
    ids = seen.api_key_ids
    merged = tuple(each or "no key id" for each in seen.merged)
    answer = replace(answer, looks_like=(*ids, *(each for each in seen.merged if each is not None)))
    if len(ids) == 1 and not seen.without_id and not merged:
        return _found(answer, ids[0], "canary")
    if ids and (merged or seen.without_id):
        unclear = ", ".join([*merged, *(["no key id"] if seen.without_id else [])])
        return replace(
            answer,
            said=f"its canary call looks like one of {', '.join(ids)}, but may as well be one of the calls of "
            f"{unclear}: cannot tell; try again in a day, when other calls pause",
        )
    if ids:
        return replace(answer, said=f"its canary call looks like one of each of {', '.join(ids)}")
    if seen.without_id and not merged:
        return replace(
            answer, said="the Usage API shows its canary call under no key id: make a new key, this one is not tracked"
        )
    if now_us - canary.ended_us < SEEN_WITHIN_MIN * US_PER_MINUTE:
        return replace(
            answer,
            said="the Usage API does not show its canary call yet, which can take minutes up to an hour; "
            "look again with: submeter doctor --find-key-ids (--wait stays until then)",
        )
    if merged:
        return replace(
            answer,
            said=f"its canary call is among other calls of its minute, of {', '.join(merged)}, if of any: cannot tell; "
            "try again in a day, when other calls pause",
        )
    return replace(
        answer,
        said="the Usage API shows its canary call under no key after an hour: is the admin key of its organization?",
    )


def _may_call(keys: Sequence[FrameworkKey], model: str, yes: bool) -> bool:
    """Ask whether one call may be made with each of these keys."""
    names = ", ".join(key.framework for key in keys)
    what = f"one call to {model} of about a thousand tokens with the key of each of: {names}"
    if yes:
        say(f"Making {what}.")
        return True
    say(f"An id can also be found by making {what}; the Usage API shows it under its id some minutes later.")
    try:
        return click.confirm("Make it?", default=False, err=True)
    except click.Abort:
        say("Nobody answered, so no call is made; --yes makes it unasked.")
        return False


def _make_canaries(invocation: Invocation, keys: Sequence[FrameworkKey], upstream: str, model: str) -> dict[str, str]:
    """Make one metered call with each key; what the provider said where it refused, by framework."""
    from ..proxy import Submeter

    refused: dict[str, str] = {}
    with (
        Submeter(invocation.ledger, upstream=upstream, clock=invocation.clock) as meter,
        meter.run(CANARY_FRAMEWORK, run_id=CANARY_RUN),
    ):
        # No two of them alike either.
        for key, words in zip(keys, random.SystemRandom().sample(CANARY_WORDS, len(keys)), strict=True):
            if (said := _make_canary(meter.url, key, model, words)) is not None:
                refused[key.framework] = f"its canary call was refused: {said}"
    return refused


def _make_canary(url: str, key: FrameworkKey, model: str, words: int) -> str | None:
    """One small chat completion; None if it went well, else what was said."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Repeat these words without an end." + " meter" * words}],
        "max_completion_tokens": random.SystemRandom().choice(CANARY_OUTPUT),
    }
    at = urlsplit(url)
    headers = {
        "Authorization": f"Bearer {named_secret(key, os.environ, ENV_FILE)}",
        "Content-Type": "application/json",
    }
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=CANARY_TIMEOUT_S)
    try:
        path = f"/run/{CANARY_RUN}/step/{quote(key.framework, safe='')}/v1/chat/completions"
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if answer.status == 200 else f"{answer.status} {_message(said)}"


def _message(body: bytes) -> str:
    """The `error.message` of an error body, without what it may repeat of a key."""
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "without a message"
    return " ".join("sk-..." if word.startswith("sk-") else word for word in message.split())[:300]


def _await_canaries(invocation: Invocation, client: UsageApi, answers: Sequence[KeyAnswer]) -> list[KeyAnswer]:
    """Look every minute for the canaries that are not seen yet, until an hour after each was made."""
    found = list(answers)
    clock = invocation.clock
    while True:
        open_until = [
            each.canary.ended_us + SEEN_WITHIN_MIN * US_PER_MINUTE
            for each in found
            if each.canary is not None and each.missing
        ]
        if not open_until or clock.now_us() >= max(open_until):
            return found
        names = ", ".join(each.key.framework for each in found if each.canary is not None and each.missing)
        wait_until(
            clock.now_us() + LOOK_EVERY_S * US_PER_S,
            what=f"the canary calls of {names}",
            summary="The Usage API does not show them yet, which can take minutes",
            clock=clock,
        )
        found = _look_for_all(invocation, client, found)


def _record(answer: KeyAnswer) -> dict[str, object]:
    return {
        "framework": answer.key.framework,
        "variable": answer.variable,
        "api_key_id": answer.api_key_id,
        "found_by": answer.found_by,
        "configured": answer.key.api_key_id if KEY_ID.fullmatch(answer.key.api_key_id or "") else None,
        "candidates": list(answer.looks_like or answer.candidates),
        "said": answer.said,
    }
