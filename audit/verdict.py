"""The words an audit ends with: verdicts from worst to best, their reasons, and the exit code they add up to.

Never here: how a verdict is reached (see `reconcile`). Nothing here chooses `verified`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What an audit says of a part or a run. In this order, worst first: a run is as bad as its worst part."""

    SHORT = "short"
    """The bill has more than the book, and no unknown call can explain it: something went past the meter."""
    OVER = "over"
    """The book has more than the bill."""
    WARNING = "warning"
    """The totals may agree, but the bill fell, changed after the end, or lies in minutes where it cannot."""
    INCOMPLETE = "incomplete"
    """The bill has more than the book, and calls whose usage is unknown may be all of it."""
    NOT_PERMITTED = "not_permitted"
    """The admin key may not read usage."""
    UNAVAILABLE = "unavailable"
    """No good read could be had."""
    DATA_NOT_AVAILABLE = "data_not_available"
    """The bill shows nothing yet, or this key id never showed anything at all."""
    PENDING = "pending"
    """Too early: something is still running, settling or to be read again."""
    NOT_AUDITABLE = "not_auditable"
    """Nothing the Usage API could be compared with, or a key without an id."""
    VERIFIED = "verified"
    """Both books are equal to the token, in every unit."""
    NO_ACTIVITY = "no_activity"
    """No call and no bill, on a key id known to show its bill."""


WORST_FIRST: tuple[Verdict, ...] = tuple(Verdict)

FINAL = frozenset(
    {
        Verdict.VERIFIED,
        Verdict.NO_ACTIVITY,
        Verdict.SHORT,
        Verdict.OVER,
        Verdict.INCOMPLETE,
        Verdict.NOT_AUDITABLE,
    }
)
"""Verdicts that are not read again by `--pending`."""

DIFFER = frozenset({Verdict.SHORT, Verdict.OVER, Verdict.WARNING, Verdict.INCOMPLETE})
AGREE = frozenset({Verdict.VERIFIED, Verdict.NO_ACTIVITY})

EXIT_AGREE = 0
EXIT_DIFFER = 1
EXIT_CANNOT_TELL = 3


class Reason(StrEnum):
    """Why, in one word, where the verdict alone does not say it."""

    FELL = "fell"
    """A minute of the bill went down between good reads and has not been confirmed since."""
    CHANGED = "changed"
    """The bill is not what it was when a final verdict was reached."""
    TIMING = "timing"
    """Tokens were billed in minutes in which no call of theirs was active."""
    KEY_UNPROVEN = "key_unproven"
    """No good read ever showed a token for this key id, so an empty bill proves nothing."""
    KEY_NOT_VISIBLE = "key_not_visible"
    """The bill is empty and the book is not: wrong id, other organisation, or key too old to be tracked."""
    ALSO_OVER = "also_over"
    """Short in one unit, over in another."""
    RUN_OPEN = "run_open"
    CALL_OPEN = "call_open"
    WINDOW_OPEN = "window_open"
    """The last active minute is not over."""
    NOT_SETTLED = "not_settled"
    NOT_READ = "not_read"
    NOT_CONFIRMED = "not_confirmed"
    OPEN_CALL = "open_call"
    """A call of this key that is active in the run's minutes is open or its usage is not told yet."""
    NEIGHBOUR = "neighbour"
    """What a run that goes on, or is not confirmed yet, will show decides whose an error is."""
    RENAMED = "renamed"
    """Two names are taken for one model only because no other was left, and too few calls have proved it."""
    UNLABELLED = "unlabelled"
    """Calls that could be of this run or of another."""
    UNDECIDED = "undecided"
    """No rule said anything: a fault of this program."""
    OPTIONAL = "optional"
    """It is not known yet whether the provider bills what these calls report."""
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    """A call to an endpoint whose work this version does not know may have used anything."""
    GAP = "gap"
    """A journal lost lines in these minutes."""
    HOSTED = "hosted"
    """A hosted tool may be billed for content beside what its call reports."""
    KEY_WITHOUT_ID = "key_without_id"
    NO_KEY = "no_key"
    """The run used no key and none is known for its framework."""


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The worst of the verdicts; None of none."""
    return min(verdicts, key=WORST_FIRST.index, default=None)


def exit_code(verdicts: Iterable[Verdict], *, unclaimed: bool, unread: bool = False) -> int:
    """1 where books differ or a bill is unclaimed, else 3 where anything cannot be told, else 0.

    `unread`: minutes between the windows could not be read, so that nobody can say they hold no unclaimed bill.
    """
    said = set(verdicts)
    if unclaimed or said & DIFFER:
        return EXIT_DIFFER
    if unread or said - AGREE:
        return EXIT_CANNOT_TELL
    return EXIT_AGREE
