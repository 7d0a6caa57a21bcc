"""What is true of each run of a world, and whether what an audit said of it is false.

The truth comes from the world's making alone: which calls went past the meter, which were never billed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from referee_calls import DAY, INTERVAL, NEW_NAME, SETTLE, Call, Piece
from referee_moment import Moment

AGREE = ("verified", "no_activity")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one run on one key at one moment."""

    hidden: bool
    """A call of it went past the meter and was billed."""
    unknown_billed: bool
    """A call whose usage is not known was billed, or a hosted tool's content."""
    unbilled: bool
    """A counted call of it is on no bill."""
    not_shown: bool
    """A counted call of it is not whole on the bill at the moment."""
    active: bool
    """It made a create of any kind on this key."""

    @property
    def wrong(self) -> bool:
        return self.hidden or self.unknown_billed or self.unbilled

    @property
    def cause(self) -> str:
        names = {"past the meter": self.hidden, "unknown billed": self.unknown_billed, "not billed": self.unbilled}
        return ", ".join(name for name, so in names.items() if so) or "nothing"


def run_of(share: Any) -> int | None:
    """A run by its place in the world; None: a period."""
    return None if share.run is None else int(share.run[1])


def joint_of(finding: Any) -> tuple[int, ...]:
    return tuple(sorted(int(name) for _, name in finding.joint))


def truth_of(moment: Moment, run: int | None, share: Any = None) -> Truth:
    """Of a run; or of a period, whose calls are those that began in it and whose excess is that billed in it."""
    if run is None:
        return _truth_of(moment, run, share)
    known: Truth | None = moment.truths.get(run)
    if known is None:
        known = moment.truths[run] = _truth_of(moment, run, share)
    return known


def _truth_of(moment: Moment, run: int | None, share: Any) -> Truth:
    if run is None:
        own = [call for call in moment.calls if call.begin_minute() - 1 in share.begun_in]
        more = [call for call in moment.calls if any(piece.minute in share.window for piece in call.pieces)]
    else:
        own = [call for call in moment.calls if call.run == run]
        more = own
    lost = any(_lost(moment, call) for call in more)
    return Truth(
        hidden=any(call.excess(moment.now) and call.standing == "hidden" for call in more) or lost,
        unknown_billed=any(
            call.excess(moment.now) and call.standing != "hidden" and (run is not None or _more_in(call, share.window))
            for call in more
        ),
        unbilled=any(call.deficit or _lost(moment, call) for call in own),
        not_shown=any(piece.seen_at > moment.now or _gone(moment, piece) for call in own for piece in call.pieces),
        active=any(call.begin < moment.now and not call.batch for call in own),
    )


def _more_in(call: Call, window: Any) -> bool:
    """Whether more of a call is billed in these minutes than it told: of one in parts the rest may be elsewhere."""
    if not call.extra:
        return True
    inside = [piece.tokens for piece in call.pieces if piece.minute in window]
    return any(sum(part) > told for part, told in zip(zip(*inside, strict=True), call.tokens, strict=True))


def _lost(moment: Moment, call: Call) -> bool:
    """Whether a counted call was billed under a name that is not known to be its own: an excess and a deficit."""
    other = call.bill_model is not None and not (call.bill_model == NEW_NAME and moment.renamed_paired)
    return other and call.standing == "counted" and bool(call.pieces)


def _gone(moment: Moment, piece: Piece) -> bool:
    return moment.world.flap is not None and moment.world._taken_back(piece.minute, moment.now)


def why_false(moment: Moment, finding: Any, found: Any) -> str | None:
    """Why a verdict is false; None: it is not."""
    share, verdict, reason = finding.share, str(finding.verdict), str(finding.reason)
    run, joint = run_of(share), joint_of(finding)
    truth = truth_of(moment, run, share)
    if reason == "undecided":
        return "undecided"
    if verdict in AGREE:
        if truth.wrong:
            return f"{verdict}, though: {truth.cause}"
        if verdict == "no_activity" and any(
            call.standing in ("counted", "unknown") and call.begin < moment.now and call.labelled
            for call in (moment.world.own(run, moment.key) if run is not None else [])
        ):
            return "no_activity, though it called"
        if share.ambiguous and verdict == "verified":
            return "verified, though calls of it could be another run's"
        if not _enough(moment, share.window):
            return f"{verdict} without two equal reads half an hour apart, an hour after"
    elif verdict == "not_auditable":
        return "not_auditable, though it hid a call" if truth.hidden else None
    elif verdict == "short":
        return _wrong_short(moment, share, truth, run, joint)
    elif verdict == "over":
        return _wrong_over(moment, finding, truth, run, joint)
    elif verdict == "incomplete" and not _may_be_explained(
        moment, share.window if reason != "optional" else found.chain.window
    ):
        return "incomplete, though nothing unknown is in its minutes"
    if moment.last:
        return _stuck(moment, finding, found, truth)
    return None


def _wrong_short(moment: Moment, share: Any, truth: Truth, run: int | None, joint: tuple[int, ...]) -> str | None:
    if not joint:
        strangers = any(
            call.run is None
            and (call.excess(moment.now) or _lost(moment, call))
            and any(piece.minute in share.window for piece in call.pieces)
            for call in moment.calls
        )
        return None if truth.hidden or strangers else "short, and hid nothing"
    named = any((each := truth_of(moment, name)).hidden or each.unknown_billed for name in joint)
    strangers = any(call.run is None and (call.excess(moment.now) or _lost(moment, call)) for call in moment.calls)
    return None if named or strangers or run is None else f"short with {joint}, none of which hid anything"


def _wrong_over(moment: Moment, finding: Any, truth: Truth, run: int | None, joint: tuple[int, ...]) -> str | None:
    if finding.final and not finding.closed and moment.now < finding.share.window.end + DAY:
        return "over is final within a day"
    late = not (finding.final and not finding.closed)
    if late and moment.world.trouble == "provider hours late":
        return None  # the reads it rests on may be older than what is shown by now, and it is not final
    if not joint:
        return None if truth.unbilled or (late and truth.not_shown) else "over, and all of it was billed"
    each = [truth_of(moment, name) for name in joint]
    strangers = any(call.run is None and (call.deficit or _lost(moment, call)) for call in moment.calls)
    named = any(one.unbilled or (late and one.not_shown) for one in each)
    # A call that could be of several runs names none of them; where it lacks, its runs say `unlabelled` themselves.
    unlabelled = any(not call.labelled and (call.deficit or call.bill_model) for call in moment.calls)
    return None if named or strangers or unlabelled or run is None else f"over with {joint}, all of which was billed"


def _may_be_explained(moment: Moment, window: Any) -> bool:
    """Whether anything that may be billed beside the book was active in these minutes."""
    rows = any(
        (row.standing in ("unknown", "optional") or row.hosted) and window.meets(row.first_minute, row.last_minute)
        for row in moment.rows
    )
    return rows or any(window.meets(first - 1, last + 1 + moment.world.shift) for first, last in moment.world.gap_rows)


def _stuck(moment: Moment, finding: Any, found: Any, truth: Truth) -> str | None:
    """Whether a run of a chain without any error is not found to agree in the end."""
    verdict, reason, share = str(finding.verdict), str(finding.reason), finding.share
    if verdict in ("pending", "unavailable", "not_permitted") and not any(row.open for row in found.chain.rows):
        return f"{verdict} at the end"
    here = [call for call in moment.calls if call.begin_minute() in found.chain.window]
    lost = not moment.renamed_paired and any(call.bill_model == NEW_NAME for call in here)
    if any(call.excess(moment.now) or call.deficit or call.bill_model not in (None, NEW_NAME) for call in here) or lost:
        return None
    if any(
        call.excess(moment.now) and any(p.minute in found.chain.window for p in call.pieces) for call in moment.calls
    ):
        return None
    if verdict in (*AGREE, "not_auditable") or share.ambiguous or reason in ("key_unproven", "renamed"):
        return None
    if any(call.optional for call in here) and not moment.world.optional_known:
        return None
    if any(row.open for row in found.chain.rows):
        return None
    return f"stuck at {verdict} ({reason}), though nothing is wrong"


def _enough(moment: Moment, window: Any) -> bool:
    """Whether for every endpoint and minute two reads half an hour apart, the later one an hour after, agree."""
    for bills in moment.bills():
        for minute in range(window.start, window.end):
            told = ((each.at, bill.get(minute)) for each, bill in bills if each.first <= minute < each.end)
            if not _confirmed(told, minute + 1 + SETTLE):
                return False
    return True


def unplaced_is_false(moment: Moment, found: Any) -> str | None:
    """Why it is false that something was billed in minutes of no run; None: it is not."""
    windows = [share.window for _, share in moment.shares]
    true = any(
        (call.excess(moment.now) or _lost(moment, call)) and not any(piece.minute in window for window in windows)
        for call in moment.calls
        for piece in call.pieces
        if piece.minute in found.chain.window
    )
    return None if true else "unclaimed, and nothing was hidden outside the runs"


def _confirmed(told: Iterator[tuple[float, Any]], settled: float) -> bool:
    """Whether the latest state (the first here) was shown twice, half an hour apart, the later time after `settled`."""
    latest, now = next(told, (0.0, None))
    if latest < settled - 1e-6:
        return False
    for at, state in told:
        if state != now:
            return False
        if latest - at >= INTERVAL - 1e-6:
            return True
    return False
