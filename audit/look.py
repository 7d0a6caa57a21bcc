"""What the ledger knows at one moment, laid out by key: who was active when, in which chains, and what was said before.

A `KeyLook` is one key id: the run windows and calls on it, and the chains that both make. A run is on a key if its
calls used it, if the framework's own key ever had that id, or if that id is configured for it now; so a framework whose
calls all go past the meter still has its key audited, a rotated one too.

No verdict is reached here, and nothing is written. Nothing is read of single calls: a look costs what there is of
runs, keys and bursts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import questions
from .chain import Share, run_window
from .episodes import Episode
from .episodes import episodes as run_episodes
from .questions import Activity, Asking
from .said_before import StoredPart, StoredRun, stored_parts, stored_runs
from .unit import RunName
from .unknown import Gap
from .window import MARGIN_MIN, Window, joined, minute_of

if TYPE_CHECKING:
    from .past import Past


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLook:
    """One key id, all of its time."""

    api_key_id: str
    chains: tuple[Window, ...]
    """Ascending."""
    shares: Mapping[int, Sequence[Share]]
    """By the first minute of the chain: what each run has to do with it, by the begin of its window."""
    creates: Mapping[int, int]
    """By the first minute of the chain: how many creates it has."""
    parts: Mapping[RunName | None, Sequence[StoredPart]]
    """The latest verdicts on this key, by run."""

    def chain_of(self, window: Window) -> Window:
        """The chain that holds a window of a run."""
        return self.chains[bisect_right(self.chains, window.start, key=lambda chain: chain.start) - 1]

    def shares_in(self, chain: Window) -> Sequence[Share]:
        return self.shares.get(chain.start, ())

    def said(self, share: Share) -> StoredPart | None:
        """The latest verdict on a run's minutes here; None: none was reached."""
        found = [part for part in self.parts.get(share.run, ()) if part.window.overlaps(share.window)]
        return found[0] if len(found) == 1 else max(found, key=lambda part: part.audited_us, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything an audit asks the ledger before it asks the Usage API. `now_us` is the moment of it."""

    now_us: int
    shift_min: int
    episodes: Mapping[RunName, Sequence[Episode]]
    runs: Mapping[RunName, StoredRun]
    """The latest verdict on each run that was ever audited."""
    key_ids: Mapping[RunName, tuple[str, ...]]
    """Every key id that a run was on."""
    keyless: Mapping[RunName, int]
    """Creates of a run on keys without an id."""
    ambiguous: Mapping[RunName, int]
    """Calls that could be of this run or of another."""
    unlabelled: int
    """Creates without a run."""
    period_keyless: int
    """Creates of the period on keys without an id; 0 where no period is looked at."""
    gaps: Sequence[Gap]
    keys: Mapping[str, KeyLook]

    def parts_of(self, run: RunName) -> list[tuple[str, Share]]:
        """What a run has to do with each key it was on, chain by chain."""
        return self._by_run.get(run, [])

    @property
    def known_runs(self) -> list[RunName]:
        """Every run that a mark or a call names."""
        past = self.past.names if self.past is not None else frozenset()
        return sorted({*self.episodes, *self.key_ids, *self.keyless, *past}, key=run_order)

    past: Past | None = None
    """What is known of all before an instant, where only what came later was looked at: its runs are in no other field,
    its calls without a run are in `unlabelled`."""
    _by_run: Mapping[RunName, list[tuple[str, Share]]] = field(default_factory=dict, repr=False)

    def ended_us(self, run: RunName) -> int | None:
        """When a run ended; None: it has not, or no episode of it is known."""
        ends = [episode.ended_us for episode in self.episodes.get(run, ())]
        return None if not ends or None in ends else max(end for end in ends if end is not None)


def run_order(run: RunName) -> tuple[str, str]:
    """A key to sort runs by."""
    return run[0] or "", run[1]


def look(
    asked: Asking,
    *,
    now_us: int,
    shift_min: int,
    configured: Mapping[str, str],
    begun_in: Window | None = None,
    framework: str | None = None,
) -> Look:
    """Ask the ledger.

    `configured`: framework to key id as the environment has it now. `begun_in`: first active minutes of calls that are
    looked at as an unnamed run too, on every key, or on those of one framework.
    """
    episodes: dict[RunName, list[Episode]] = defaultdict(list)
    for episode in run_episodes(asked):
        episodes[episode.run].append(episode)
    active: dict[str, list[Activity]] = defaultdict(list)
    used: dict[RunName, dict[str, bool]] = defaultdict(dict)
    keyless: dict[RunName, int] = defaultdict(int)
    unlabelled = 0 if asked.past is None else asked.past.unlabelled
    for each in questions.activities(asked, shift_min=shift_min):
        if each.run is None:
            unlabelled += each.creates
        else:
            keyless[each.run] += each.keyless
        if each.api_key_id is None:
            continue
        active[each.api_key_id].append(each)
        if each.run is not None:
            counted = used[each.run].get(each.api_key_id, False) or each.counted > 0
            used[each.run][each.api_key_id] = counted
    own = questions.own_keys(asked)
    ambiguous = questions.ambiguous(asked)
    parts: dict[str, dict[RunName | None, list[StoredPart]]] = defaultdict(lambda: defaultdict(list))
    for part in stored_parts(asked):
        parts[part.api_key_id][part.run].append(part)
    runs = stored_runs(asked)
    key_ids: dict[RunName, tuple[str, ...]] = {}
    on_key: dict[str, list[RunName]] = defaultdict(list)
    for run in sorted({*episodes, *used}, key=run_order):
        ids = set(used.get(run, ()))
        if run[0] is not None:
            ids |= own.get(run[0], frozenset())
            if run[0] in configured:
                ids.add(configured[run[0]])
        if run in runs and runs[run].final:
            # A key that was first seen after a run was judged for good does not open it again.
            ids = {key for key in ids if key in used.get(run, ()) or run in parts.get(key, ())} or ids
        key_ids[run] = tuple(sorted(ids))
        for key in key_ids[run]:
            on_key[key].append(run)
    keys = {*on_key, *active}
    if framework is not None:
        wanted = {key for run, ids in key_ids.items() if run[0] == framework for key in ids} | own.get(framework, set())
        wanted |= {configured[framework]} if framework in configured else set()
    else:
        wanted = keys | set(configured.values())
    ends: Mapping[str, int] = {}
    period_keyless = 0
    if begun_in is not None:
        ends, period_keyless = questions.period_ends(asked, begun_in, shift_min=shift_min, framework=framework)
    laid = {
        key: key_look(
            key,
            active.get(key, ()),
            {run: episodes.get(run, ()) for run in on_key.get(key, ())},
            frozenset(run for run in on_key.get(key, ()) if _counts_elsewhere(used.get(run, {}), key)),
            parts.get(key, {}),
            ambiguous,
            None if begun_in is None or key not in wanted else _period(begun_in, ends.get(key), shift_min),
            begun_in,
            now_us=now_us,
            shift_min=shift_min,
        )
        for key in sorted(keys | (wanted if begun_in is not None else set()))
    }
    by_run: dict[RunName, list[tuple[str, Share]]] = defaultdict(list)
    for key, each_key in laid.items():
        for chain in each_key.chains:
            for share in each_key.shares_in(chain):
                if share.run is not None:
                    by_run[share.run].append((key, share))
    return Look(
        now_us=now_us,
        shift_min=shift_min,
        episodes=episodes,
        runs=runs,
        key_ids=key_ids,
        keyless={run: n for run, n in keyless.items() if n},
        ambiguous=ambiguous,
        unlabelled=unlabelled,
        period_keyless=period_keyless,
        gaps=questions.gaps(asked, shift_min=shift_min),
        keys=laid,
        past=asked.past,
        _by_run=by_run,
    )


def _period(begun_in: Window, last_minute: int | None, shift_min: int) -> Window:
    """The window of a period: as a run's, to the last active minute of its calls. None: it has none on this key."""
    last = begun_in.end - 1 + 2 * MARGIN_MIN + shift_min
    return Window(start=begun_in.start, end=max(last, last if last_minute is None else last_minute) + 1)


def _counts_elsewhere(used: Mapping[str, bool], key: str) -> bool:
    """Whether a run has a counted call on another key than this one. `used`: its keys, and whether a call counts."""
    return any(counted for other, counted in used.items() if other != key)


def episode_window(episode: Episode, *, now_us: int, shift_min: int) -> Window:
    """The minutes that an episode of a run takes up by its marks alone."""
    return run_window(
        begin_minute=minute_of(episode.started_us),
        end_minute=minute_of(now_us if episode.ended_us is None else episode.ended_us),
        active=None,
        shift_min=shift_min,
        skew_known=episode.skew_known,
    )


def key_look(
    key: str,
    active: Sequence[Activity],
    episodes: Mapping[RunName, Sequence[Episode]],
    counts_elsewhere: frozenset[RunName],
    parts: Mapping[RunName | None, Sequence[StoredPart]],
    ambiguous: Mapping[RunName, int],
    period: Window | None,
    begun_in: Window | None,
    *,
    now_us: int,
    shift_min: int,
) -> KeyLook:
    """The chains of one key and what each run has to do with them.

    `episodes`: of every run that is on the key. `counts_elsewhere`: runs with a counted call on another key.
    """
    pieces: list[tuple[int, int, RunName | None, bool]] = []
    """Windows of run episodes (True: not ended), and stretches of calls of runs, `[start, end)`."""
    for run, of_run in episodes.items():
        for episode in of_run:
            window = episode_window(episode, now_us=now_us, shift_min=shift_min)
            pieces.append((window.start, window.end, run, episode.ended_us is None))
    pieces += [(each.first_minute, each.last_minute + 1, each.run, False) for each in active if each.run is not None]
    if period is not None:
        pieces.append((period.start, period.end, None, period.end_us > now_us))
    calls = [(each.first_minute, each.last_minute + 1) for each in active]
    chains = joined([*calls, *((start, end) for start, end, _, _ in pieces)])
    starts = [chain.start for chain in chains]
    hulls: dict[int, dict[RunName | None, tuple[int, int, bool]]] = defaultdict(dict)
    for start, end, piece_run, is_open in pieces:
        of_chain = hulls[starts[bisect_right(starts, start) - 1]]
        low, high, was_open = of_chain.get(piece_run, (start, end, False))
        of_chain[piece_run] = (min(low, start), max(high, end), was_open or is_open)
    own = {each.run for each in active}
    shares: dict[int, list[Share]] = {}
    for start, of_chain in hulls.items():
        listed: list[Share] = []
        for of, (low, high, is_open) in of_chain.items():
            window = Window(start=low, end=high)
            finals = [part.final_us for part in parts.get(of, ()) if part.final_us and part.window.overlaps(window)]
            listed.append(
                Share(
                    run=of,
                    window=window,
                    begun_in=begun_in if of is None else None,
                    open=is_open,
                    ambiguous=0 if of is None else ambiguous.get(of, 0),
                    counts_elsewhere=of is not None and of not in own and of in counts_elsewhere,
                    final_us=max(finals, default=None),
                )
            )
        if len(listed) > 1:
            listed.sort(key=lambda share: (share.window, run_order(share.run or (None, ""))))
        shares[start] = listed
    creates: dict[int, int] = defaultdict(int)
    for stretch in active:
        creates[starts[bisect_right(starts, stretch.first_minute) - 1]] += stretch.creates
    return KeyLook(api_key_id=key, chains=chains, shares=shares, creates=creates, parts=parts)
