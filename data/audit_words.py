"""What an audit's verdicts and reasons mean, in words for people: a sentence a verdict, a clause a reason.

The words themselves are the audit's (`audit/verdict.py`); a test holds both lists to them. Read by `submeter audit`,
`submeter explain` and `submeter metrics update`, so that all three say the same.
"""

from __future__ import annotations

VERDICTS = {
    "verified": "Verified: the Usage API and the ledger agree to the token",
    "no_activity": "Verified: no call was made, and none was billed",
    "pending": "Pending: too early for a verdict",
    "data_not_available": "The Usage API shows nothing for this key yet",
    "short": "Warning: the Usage API has more than the ledger, so calls went past the proxy",
    "over": "Warning: the ledger has more than the Usage API",
    "incomplete": "Warning: the Usage API has more than the ledger, and known calls whose bill is not known may be it",
    "warning": "Warning: the totals may agree, but the books prove nothing of this run",
    "not_auditable": "Warning: there is nothing that the Usage API could be compared with",
    "unavailable": "Failed: the Usage API could not be read",
    "not_permitted": "Failed: the admin key may not read usage",
}
REASONS = {
    "fell": "the bill of these minutes went down between two good reads; the lower one is believed once good reads "
    "over 24 h agree on it",
    "changed": "the bill is no longer what it was when a final verdict was reached; it has to be confirmed anew",
    "timing": "the totals agree, but no call was active in some of the minutes in which they were billed",
    "key_unproven": "no read ever showed a token for this key id, so an empty bill proves nothing; is the id right?",
    "key_not_visible": "the bill of this key id is empty and the book is not: a wrong id, another organisation, or a "
    "key too old to be tracked",
    "also_over": "in other minutes or units the book has more than the bill",
    "run_open": "the run has not ended",
    "call_open": "a call of the run is open, or its usage is not told yet",
    "window_open": "the last minute in which it may be billed is not over",
    "not_settled": "the last read was made too soon after the run's last minute",
    "not_read": "some of its minutes were never read well",
    "not_confirmed": "too few good reads agree yet, or they lie too close together",
    "open_call": "the books differ, and another call of this key that is open in the same minutes may be why",
    "neighbour": "the books differ, and what another run on this key will show decides whose difference it is",
    "renamed": "two names are taken for one model because no other was left on either side; that counts once three "
    "calls of distinct tokens have been billed so",
    "unlabelled": "calls could be of this run or of another that went on at the same time",
    "undecided": "no rule matched, which is a fault of submeter; please report it",
    "optional": "it is not known yet whether the provider bills all that its calls report",
    "unknown_endpoint": "a call went to an endpoint whose work this version does not know, and may have used anything",
    "gap": "a journal lost lines in these minutes, so a call may be missing from the book",
    "hosted": "a hosted tool may be billed for what it read or drew, beside what its call reports",
    "key_without_id": "calls used a key without an id, and the Usage API is asked by id",
    "no_key": "the run used no key, and none is known for its framework",
}
UNKNOWN = "the usage of a call in these minutes is not known, and it may be the difference"
"""Why a verdict is `incomplete` where it has no narrower reason."""
CLOSED = "asked for 7 days: it stands as it is"
"""Of a verdict that is final only because nothing was decided for so long."""


def reason_words(reason: str | None) -> str | None:
    """The reason in words; None of none."""
    return None if reason is None else REASONS.get(reason, reason)
