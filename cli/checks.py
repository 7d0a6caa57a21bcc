"""What `doctor` looks at, one function each: a finding says how it is and what to do about it.

No secret is ever part of a finding: a key is named by its variable. Nothing here changes anything, except that the
journal folder is tried with a file that is removed at once.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..data.clock import US_PER_MINUTE, Clock, minute_floor
from ..data.error import SubmeterError
from ..data.keys import KEY_ID, KeyRing, id_variable
from ..data.paths import journal_folder, lock_path
from ..data.system import no_locks, words
from .locks import holders
from .running import RunningProxy

if TYPE_CHECKING:
    from ..data.ledger import Ledger

UPSTREAM_TIMEOUT_S = 10.0
PROBE_MINUTES_AGO = 10
LOCK_LOOKS = 10
LOCK_LOOK_EVERY_S = 0.2


class State(StrEnum):
    """How one thing is."""

    FINE = "fine"
    WRONG = "wrong"
    """Something for the user to mend."""
    CANNOT_TELL = "cannot tell"
    """It could not be found out now; an audit could not be made either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    said: str
    next_step: str | None = None
    """What to do about it; None where all is fine."""
    numbers: Mapping[str, Any] | None = None
    """What was measured, for `--json`; None: nothing."""


def check_keys(ring: KeyRing) -> list[Finding]:
    """Framework keys: there are some, no secret and no id is shared, each has an id that can be one."""
    if not ring.keys and not ring.token_ids:
        return [
            _wrong(
                "keys",
                "No framework key is set, so no call's framework is known from its key.",
                "Set OPENAI_API_KEY_<FRAMEWORK> and OPENAI_API_KEY_<FRAMEWORK>_ID, in the environment or ./.env.",
            )
        ]
    named = [*(key.framework for key in ring.keys), *(f"{name} (an id alone)" for name in ring.token_ids)]
    found = [_fine("keys", f"Framework keys: {', '.join(named)}.")]
    found += [
        _wrong(
            "duplicate keys",
            f"{_variables(same)} hold the same secret: their calls cannot be told apart by key.",
            "Make one API key for each framework; until then no proxy starts.",
        )
        for same in ([key.variable for key in keys] for keys in ring.shared())
    ]
    found += [
        _wrong(
            "duplicate keys",
            f"{_variables([*map(id_variable, same)])} are the same id: their bills cannot be told apart.",
            "Give each framework the id of its own key; until then no proxy starts.",
        )
        for same in ring.shared_ids()
    ]
    by_id: dict[str, list[str]] = {}
    for key in ring.keys:
        variable = f"{key.variable}_ID"
        if key.api_key_id is None:
            found.append(
                _wrong(
                    "key ids",
                    f"{variable} is not set, so {key.framework} cannot be audited.",
                    f"Set {variable} to the id (key_...) of this API key; find it with: submeter doctor --find-key-ids",
                )
            )
        elif not KEY_ID.fullmatch(key.api_key_id):
            found.append(
                _wrong(
                    "key ids",
                    f"{variable} is not the id of a key: ids begin with key_.",
                    f"Set {variable} to the id (key_...), not to the secret or the name of the key.",
                )
            )
        else:
            by_id.setdefault(key.api_key_id, []).append(variable)
    found += [
        _wrong(
            "duplicate keys",
            f"{_variables(same)} are the same id {api_key_id}.",
            "Give each framework the id of its own key.",
        )
        for api_key_id, same in by_id.items()
        if len(same) > 1
    ]
    if all(finding.state is State.FINE for finding in found):
        found.append(_fine("key ids", "Every key has an id, and no two are the same."))
    return found


def check_upstream(url: str) -> Finding:
    """Whether the upstream answers at all; a request without a key is refused, and that is an answer."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=UPSTREAM_TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=UPSTREAM_TIMEOUT_S)
    try:
        connection.request("GET", parts.path.rstrip("/").removesuffix("/v1") + "/v1/models")
        status_code = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return _cannot_tell(
            "upstream",
            f"{url} does not answer: {error or type(error).__name__}.",
            "See whether this machine reaches it: curl -I " + url,
        )
    finally:
        connection.close()
    if status_code >= 500:
        return _cannot_tell(
            "upstream", f"{url} answers with {status_code}.", "Try again later; its status page may say more."
        )
    return _fine("upstream", f"{url} answers ({status_code} to a request without a key).")


def check_admin_key(environment: Mapping[str, str], clock: Clock, api_key_id: str | None) -> Finding:
    """Whether an admin key is set and may read usage: one minute, ten minutes ago, of one key is asked for."""
    from ..audit.bucket import Problem, UsageEndpoint
    from ..audit.settings import ADMIN_KEYS, read_settings
    from ..audit.usage_api import UsageApi

    try:
        settings = read_settings(environment)
    except SubmeterError as error:
        return _wrong("admin key", f"{error.what} {error.why}", error.next_step)
    if settings.admin_key is None:
        return _wrong(
            "admin key",
            "No admin key is set, so no audit can be made; metering does not need one.",
            f"Set {ADMIN_KEYS[0]} to a key that may read usage (scope api.usage.read), for the audit alone.",
        )
    end = minute_floor(clock.now_us()) - PROBE_MINUTES_AGO * US_PER_MINUTE
    with UsageApi(settings, clock=clock) as client:
        read = client.read(
            UsageEndpoint.COMPLETIONS,
            api_key_id=api_key_id or "key_none",
            window_start=end - US_PER_MINUTE,
            window_end=end,
        )
    if read.good:
        return _fine("admin key", f"The admin key may read usage at {settings.usage_api_url}.")
    said = f"{read.status_code or 'no answer'}: {read.message or read.problem}"
    if read.request_id:
        said += f" (request {read.request_id})"
    if read.problem is Problem.NOT_PERMITTED:
        return _cannot_tell(
            "admin key",
            f"The admin key may not read usage: {said}",
            f"Set {ADMIN_KEYS[0]} to a key of the right organisation with the scope api.usage.read.",
        )
    return _cannot_tell("admin key", f"The Usage API cannot be read now: {said}", "Try again later: submeter doctor")


def check_journal_folder(ledger: Path) -> Finding:
    """Whether a call could be recorded: the journal folder, or the nearest folder above it, takes a file."""
    folder = journal_folder(ledger)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as trial:
            trial.write(b"\n")
            trial.flush()
    except OSError as error:
        return _wrong(
            "journal",
            f"{nearest} cannot be written to: {words(error)}.",
            "Choose another ledger with --ledger PATH or SUBMETER_LEDGER, or mend the folder's permissions.",
        )
    return _fine("journal", f"{folder} can be written to.")


def check_lock(ledger: Path, clock: Clock) -> Finding:
    """Whether the ledger is free within two seconds, and else who holds it."""
    if not ledger.exists():
        return _fine("lock", f"{ledger} is not there yet; the first call makes it.")
    for look in range(LOCK_LOOKS):
        if look:
            clock.sleep(LOCK_LOOK_EVERY_S)
        try:
            if _is_free(lock_path(ledger)) and not holders(ledger):
                return _fine("lock", "Nobody holds the ledger.")
        except OSError as error:
            told = no_locks(ledger.parent, error)
            return _wrong("lock", f"{told.what}. {told.why}", told.next_step)
    names = ", ".join(str(holder) for holder in [*holders(lock_path(ledger)), *holders(ledger)])
    return _wrong(
        "lock",
        f"{ledger} is held by {names or 'a process that cannot be told'}; calls wait in the journal, none is lost.",
        "Close that program, or let it work on a copy: submeter ledger snapshot TO",
    )


def check_ingest(ledger: Path, clock: Clock) -> Finding:
    """How far the ledger is behind its journals, and whether it catches up when asked to."""
    from ..data.ledger import Ledger

    if not ledger.exists() and not journal_folder(ledger).is_dir():
        return _fine("ingest", "There is no ledger and no journal yet, so nothing waits.")
    opened = Ledger(ledger, clock=clock)
    try:
        behind = _bytes_behind(opened)
        turn = opened.ingest()
    except SubmeterError as error:
        return _wrong("ingest", f"{error.what} {error.why}", error.next_step)
    said = f"The ledger was {behind:,} bytes of journal behind"
    if turn.held:
        return _wrong("ingest", f"{said}, and still is.", "See `lock` above; then: submeter ledger ingest")
    if turn.problems:
        return _wrong(
            "ingest",
            f"{said}; {len(turn.problems)} places of the journals could not be read.",
            "Locate them with: submeter ledger check",
        )
    return _fine("ingest", f"{said}, and is up to date now.")


def _bytes_behind(ledger: Ledger) -> int:
    """Bytes of journal that are not in the ledger yet."""
    from ..data.replay import Reader

    journals = Reader(journal_folder(ledger.path)).survey().journals
    rows = ledger.query("ingested").rows if ledger.path.exists() else []
    carried = {file_id: end_offset for file_id, end_offset, _ in rows}
    return sum(max(0, journal.size - carried.get(journal.file_id, 0)) for journal in journals)


def check_lag(ledger: Path, environment: Mapping[str, str], clock: Clock) -> Finding:
    """How late the organization's Usage API was so far, by stored reads: when to look, never when to believe."""
    from ..audit.lag import lag_curve
    from ..audit.settings import SETTLE, read_settings
    from ..data.ledger import Ledger

    try:
        settle_min = read_settings(environment).settle_min
        rows = Ledger(ledger, clock=clock).query("usage_lag").rows if ledger.exists() else []
    except SubmeterError as error:
        return _cannot_tell("lag", f"{error.what} {error.why}", error.next_step)
    curve = lag_curve((age_min, looks, tokens) for age_min, looks, tokens in rows)
    if curve is None:
        return _fine("lag", "No minute was read twice yet, the second time an hour after it; audits will tell.")
    seen = ", ".join(f"{share} % after {age} min" for share, age in curve.visible_by_min.items())
    said = (
        f"Of {curve.tokens:,} tokens billed, the Usage API had shown {seen}, at most ({curve.looks:,} looks, the first "
        f"after {curve.first_look_min} min)."
    )
    last_min = curve.visible_by_min[100]
    if last_min > settle_min:
        finding = _wrong(
            "lag",
            f"{said} That is later than the {settle_min} min after which an audit believes it.",
            f"Wait longer: export {SETTLE}={-(-last_min // 30) * 30}",
        )
    else:
        finding = _fine(
            "lag",
            f"{said} A first look pays {curve.visible_by_min[90]} min after a run; a verdict still waits {settle_min}.",
        )
    numbers = {
        "tokens": curve.tokens,
        "looks": curve.looks,
        "first_look_min": curve.first_look_min,
        "visible_by_min": {str(share): age for share, age in curve.visible_by_min.items()},
        "settle_min": settle_min,
    }
    return replace(finding, numbers=numbers)


def check_proxies(proxies: list[RunningProxy]) -> Finding:
    """Which proxies of this ledger run here."""
    if not proxies:
        return _fine("proxy", "No proxy of this ledger runs here; start one with: submeter proxy")
    said = ", ".join(
        f"{proxy.listen} -> {proxy.upstream} "
        f"({f'{proxy.workers} workers, one is ' if proxy.workers > 1 else ''}pid {proxy.pid})"
        for proxy in proxies
    )
    return _fine("proxy", f"Running: {said}.")


def check_authority() -> Finding:
    """Until when the certificate authority of `--intercept` and of TLS listeners is good, and for which hosts."""
    from ..proxy.authority import authority_pem, authority_place
    from ..proxy.certificates import RENEWED_DAYS_BEFORE, read_authority

    place = authority_place()
    held = read_authority(authority_pem(place))
    if held is None:
        return _fine("authority", f"There is none in {place} yet; the first proxy makes it.")
    if held.names is None:
        return _wrong(
            "authority",
            f"The one in {place} may sign for any host: an older submeter made it.",
            "Start a proxy of this submeter, which replaces it: submeter proxy",
        )
    ends = f"{held.ends_at:%Y-%m-%d}"
    finding = _fine(
        "authority",
        f"The one in {place} is good until {ends}, for {', '.join(held.names)}; a proxy renews it "
        f"{RENEWED_DAYS_BEFORE} days before.",
    )
    return replace(finding, numbers={"ends_at": held.ends_at.isoformat(), "names": list(held.names)})


def exit_code_of(findings: list[Finding]) -> int:
    """1 where something is to be mended, else 3 where something could not be told, else 0."""
    states = {finding.state for finding in findings}
    if State.WRONG in states:
        return 1
    return 3 if State.CANNOT_TELL in states else 0


def _is_free(lock: Path) -> bool:
    """Whether the sidecar lock is free to readers at this instant; raises `OSError` where there are no locks."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _variables(names: list[str]) -> str:
    return " and ".join(names)


def _fine(check: str, said: str) -> Finding:
    return Finding(check=check, state=State.FINE, said=said)


def _wrong(check: str, said: str, next_step: str) -> Finding:
    return Finding(check=check, state=State.WRONG, said=said, next_step=next_step)


def _cannot_tell(check: str, said: str, next_step: str) -> Finding:
    return Finding(check=check, state=State.CANNOT_TELL, said=said, next_step=next_step)
