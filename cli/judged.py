"""How published runs that were judged anew are shown: a table for a screen, CSV, JSON, and what is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..data.clock import utc
from ..data.marks import run_name
from ..data.metrics_judge import Flaw, Judgement, Read
from .output import print_csv, print_json, print_table, say

if TYPE_CHECKING:
    from ..data.ledger import Table

FROM_STEPS = "its file tells no times of the run, so its time is that of its steps, in whole seconds"
ID_CHARS_MIN = 8
"""Of a run's id, in the table; more where two runs of a framework begin alike."""


def print_judged(judged: Sequence[Judgement], form: str) -> None:
    """The judgements as a `table`, `csv` or `json`."""
    if form == "json":
        print_json([_record(each) for each in judged])
    elif form == "csv":
        print_csv(_csv(judged))
    else:
        _print_table(judged)


def say_judged(judged: Sequence[Judgement]) -> None:
    """How many runs have each flaw, by framework too; what is left without them; and what nobody can know any more."""
    flaws = Counter(flaw for each in judged for flaw in each.flaws)
    said = ", ".join(f"{_words(flaw)} {flaws[flaw]}" for flaw in Flaw)
    say(f"Judged {len(judged)} runs: {said}.")
    frameworks = sorted({each.run.framework for each in judged})
    for framework in frameworks if len(frameworks) > 1 else ():
        own = [each for each in judged if each.run.framework == framework]
        sound = sum(not each.flaws for each in own)
        say(f"  {framework}: {len(own)} runs, {sound} without a flaw{_flaws(own, '; ')}")
    flawed = sum(bool(each.flaws) for each in judged)
    if flawed:
        say(f"Left without the flawed ones: {len(judged) - flawed} of {len(judged)} runs. List them: --only flawed")
    for each in judged:
        if each.run.times_from_steps:
            say(f"{each.run.name}: {FROM_STEPS}")
    borders, shared = (sum(getattr(each.run, name) for each in judged) for name in ("step_borders", "shared_minutes"))
    if shared:
        say(f"No longer known: what each step used; {shared} of {borders} neighbouring steps share a minute.")
    if judged:
        say("No longer known: which calls the totals are made of, and what went to another key. No call was recorded.")


def _flaws(judged: Sequence[Judgement], before: str) -> str:
    """How many of these runs have each flaw that there is."""
    flaws = Counter(flaw for each in judged for flaw in each.flaws)
    return before + ", ".join(f"{_words(flaw)} {flaws[flaw]}" for flaw in Flaw if flaws[flaw]) if flaws else ""


def _words(flaw: Flaw) -> str:
    return flaw.value.replace("_", " ")


def _print_table(judged: Sequence[Judgement]) -> None:
    """A table of at most some hundred columns: names cut as git cuts its own, one neighbour named."""
    names = {each.run.name for each in judged} | {other.name for each in judged for other in each.neighbours}
    short = short_names(names)
    print_table(
        ["run", "claims", "found", "neighbours", "reads", "zero", "early", "shared"],
        [
            [
                short[each.run.name],
                each.run.status,
                ", ".join(map(_words, each.flaws)) or "nothing",
                _neighbours([short[other.name] for other in each.neighbours]),
                len(each.run.reads),
                len(each.zero_reads),
                len(each.early_reads),
                f"{each.run.shared_minutes} of {each.run.step_borders}",
            ]
            for each in judged
        ],
        numbers=("reads", "zero", "early"),
    )
    if any(short[name] != name for name in names):
        say("Ids are cut; whole names: --format csv, or --json")


def short_names(names: set[str]) -> dict[str, str]:
    """Each run's name with as much of its id as tells it from the others of its framework, if that is shorter."""
    length = ID_CHARS_MIN
    while True:
        short = {name: _cut(name, length) for name in names}
        if len(set(short.values())) == len(names):
            return short
        length += 1


def _cut(name: str, length: int) -> str:
    framework, slash, run_id = name.rpartition("/")
    # A name that was chosen by a person, such as test_run_123, is not cut.
    return f"{framework}{slash}{run_id[:length]}" if len(run_id) > 2 * length else name


def _neighbours(names: Sequence[str]) -> str | None:
    if not names:
        return None
    ids = [name.rpartition("/")[2] for name in names]
    return ids[0] if len(ids) == 1 else f"{ids[0]} +{len(ids) - 1}"


def _csv(judged: Sequence[Judgement]) -> Table:
    from ..data.ledger import Table

    columns = (
        "run",
        "framework",
        "run_id",
        "claims",
        "found",
        "neighbours",
        "reads",
        "zero_reads",
        "early_reads",
        "neighbouring_steps",
        "neighbouring_steps_in_one_minute",
    )
    rows: list[tuple[Any, ...]] = [
        (
            run_name(each.run.framework, each.run.run_id),
            each.run.framework,
            each.run.run_id,
            each.run.status,
            " ".join(each.flaws),
            " ".join(other.name for other in each.neighbours),
            len(each.run.reads),
            len(each.zero_reads),
            len(each.early_reads),
            each.run.step_borders,
            each.run.shared_minutes,
        )
        for each in judged
    ]
    return Table(columns=columns, types=("VARCHAR",) * len(columns), rows=rows)


def _record(judged: Judgement) -> dict[str, Any]:
    run = judged.run
    return {
        "run": run.name,
        "framework": run.framework,
        "run_id": run.run_id,
        "claims": run.status,
        "times_from_steps": run.times_from_steps,
        "found": list(judged.flaws),
        "window": {"start": run.window[0], "end": run.window[1]} if run.window else None,
        "neighbours": [
            {"run": each.name, "windows_share_s": each.shared_s, "its_run_inside_s": each.run_s}
            for each in judged.neighbours
        ],
        "reads": len(run.reads),
        "zero_reads": [_moment(each) for each in judged.zero_reads],
        "early_reads": [_moment(each) for each in judged.early_reads],
        "early_reads_unlike_the_last": judged.early_unequal,
        "neighbouring_steps": run.step_borders,
        "neighbouring_steps_in_one_minute": run.shared_minutes,
        "no_longer_known": list(judged.unknowable),
    }


def _moment(read: Read) -> Any:
    return utc(read.at_us) if read.at_us is not None else None
