"""What a user may set for an audit, read once from the environment.

    RECONCILIATION_VERIFICATION_INTERVAL_MIN   30   minutes between reads that count
    RECONCILIATION_MIN_STABLE_VERIFICATIONS     2   identical reads in a row before anything is believed
    SUBMETER_SETTLE_MIN                        60   minutes after a window's end before its last read
    SUBMETER_USAGE_API_URL   https://api.openai.com/v1   where the Usage API is, without `/organization`
    OPENAI_ADMIN_KEY, else OPENAI_API_KEY_USAGE_TRACKING, else OPEN_AI_KEY_ADM   the key that may read usage
    OPENAI_API_KEY_<FRAMEWORK>_ID   the `key_...` id of a framework's own key

An interval of 0 makes settle 0 too; with it, or with fewer than two identical reads, every verdict says `timing: test`
and proves nothing. Other values below the defaults are carried by each verdict.

Never here: a framework's secret, and the admin key in any text: `repr` leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..data.clock import US_PER_MINUTE
from ..data.error import SubmeterError
from .history import Waiting

INTERVAL = "RECONCILIATION_VERIFICATION_INTERVAL_MIN"
STABLE_READS = "RECONCILIATION_MIN_STABLE_VERIFICATIONS"
SETTLE = "SUBMETER_SETTLE_MIN"
USAGE_API_URL = "SUBMETER_USAGE_API_URL"
ADMIN_KEYS = ("OPENAI_ADMIN_KEY", "OPENAI_API_KEY_USAGE_TRACKING", "OPEN_AI_KEY_ADM")

DEFAULT_USAGE_API_URL = "https://api.openai.com/v1"
TIMING_TEST = "test"
INTERVAL_MIN = 30
STABLE_READS_MIN = 2
SETTLE_MIN = 60
"""What an audit waits for unless it is told otherwise; less is said in the verdict."""

_MINUTES_MAX = 366 * 24 * 60
_READS_MAX = 1_000
_KEY_ID_VARIABLE = re.compile(r"OPENAI_API_KEY_(?P<framework>\w+)_ID")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How strict an audit is, and whom it asks."""

    interval_min: int = INTERVAL_MIN
    """Minutes from one counted read to the next; 0 is for tests and says so in every verdict."""
    stable_reads: int = STABLE_READS_MIN
    """Identical good reads in a row that confirm a bill."""
    settle_min: int = SETTLE_MIN
    """Minutes after a window's end before the last counted read."""
    usage_api_url: str = DEFAULT_USAGE_API_URL
    admin_key: str | None = field(default=None, repr=False)
    """None: none is set, so nothing can be read."""
    framework_key_ids: Mapping[str, str] = field(default_factory=dict)
    """Framework (lower case) to the `key_...` id of its own key, so that a framework whose calls all went past the
    meter is audited too."""

    @property
    def interval_us(self) -> int:
        return self.interval_min * US_PER_MINUTE

    @property
    def settle_us(self) -> int:
        """Microseconds; 0 with an interval of 0 (docs/design/audit.md "Confirmed")."""
        return self.settle_min * US_PER_MINUTE if self.interval_min else 0

    @property
    def waiting(self) -> Waiting:
        """What a minute of the bill waits for before it is confirmed."""
        return Waiting(stable_reads=self.stable_reads, interval_us=self.interval_us, settle_us=self.settle_us)

    @property
    def timing(self) -> str | None:
        """`test` where nothing is confirmed by waiting: no interval, or one read alone; else None."""
        return TIMING_TEST if not self.interval_min or self.stable_reads < 2 else None

    @property
    def below_defaults(self) -> bool:
        """Whether an audit waits for less than it does unless told otherwise, so that its verdicts carry these
        settings."""
        return (
            self.interval_min < INTERVAL_MIN
            or self.stable_reads < STABLE_READS_MIN
            or self.settle_us < SETTLE_MIN * US_PER_MINUTE
        )


def read_settings(environment: Mapping[str, str]) -> AuditSettings:
    """The settings named by the environment, defaults elsewhere. Raises `SubmeterError` for a value that is none."""
    return AuditSettings(
        interval_min=_whole_number(environment, INTERVAL, INTERVAL_MIN, least=0, most=_MINUTES_MAX),
        stable_reads=_whole_number(environment, STABLE_READS, STABLE_READS_MIN, least=1, most=_READS_MAX),
        settle_min=_whole_number(environment, SETTLE, SETTLE_MIN, least=0, most=_MINUTES_MAX),
        usage_api_url=_url(environment.get(USAGE_API_URL, "").strip() or DEFAULT_USAGE_API_URL),
        admin_key=_admin_key(environment),
        framework_key_ids=_framework_key_ids(environment),
    )


def _whole_number(environment: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise SubmeterError(
            f"{name}={text[:40]} cannot be used.",
            f"It must be a whole number from {least} to {most}.",
            f"Set it or leave it out: export {name}={default}",
        )
    return int(text)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        good = good and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise SubmeterError(
            f"{USAGE_API_URL} is not a URL that can be asked.",
            "It must be http:// or https:// and a host, with a path if need be, without a query or a password.",
            f"Set it or leave it out: export {USAGE_API_URL}={DEFAULT_USAGE_API_URL}",
        )
    return text.rstrip("/")


def _admin_key(environment: Mapping[str, str]) -> str | None:
    for name in ADMIN_KEYS:
        value = environment.get(name, "").strip()
        if not value:
            continue
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise SubmeterError(
                f"{name} is not a key.",
                "It holds blanks or characters that cannot be sent in a header; its value is not shown here.",
                "Copy the key again, then check it with: submeter doctor",
            )
        return value
    return None


def _framework_key_ids(environment: Mapping[str, str]) -> dict[str, str]:
    ids: dict[str, str] = {}
    for name in sorted(environment):
        found = _KEY_ID_VARIABLE.fullmatch(name)
        if found and (value := environment[name].strip()) and found["framework"] != "USAGE_TRACKING":
            ids[found["framework"].lower()] = value
    return ids
