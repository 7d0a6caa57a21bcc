"""A report as one page: verdicts and their arithmetic first, then what was used, when, and what is in no sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..audit.verdict import AGREE, DIFFER
from ..data.marks import run_name
from .output import cell, duration, usd
from .page import Drawn, drawn, rendered
from .report_pictures import pictures_of
from .reported import Report, Row
from .runs import NO_STEP

_USED = (
    ("Calls", "calls"),
    ("Input", "input_tokens"),
    ("Cached", "cached_input_tokens"),
    ("Output", "output_tokens"),
    ("Reasoning", "reasoning_tokens"),
    ("Unknown", "unknown"),
    ("Optional", "optional"),
    ("Ambiguous", "ambiguous"),
)


def page(report: Report, foot: Sequence[str]) -> str:
    """The whole page."""
    pictures = pictures_of(report)
    by_name: dict[str, list[Drawn]] = {"tokens": [], "calls": [], "minutes": []}
    for picture, each in zip(pictures, drawn(pictures), strict=True):
        by_name[picture.name.partition("-")[0]].append(each)
    explained = {each.run: each.lines for each in report.arithmetic}
    shown = report.runs if report.steps_of else ()
    return rendered(
        "report_page.html",
        title=f"Report of {report.runs[0]['name']}" if len(report.runs) == 1 else f"Report of {len(report.runs)} runs",
        summary=summary_of(report),
        verdicts=[
            {
                "name": row["name"],
                "mood": mood(row),
                "verdict": verdict_text(row),
                "lines": explained.get(row["name"], ()),
            }
            for row in shown
        ],
        verdict_counts=[] if shown else sorted(Counter(map(verdict_text, report.runs)).items()),
        not_explained=report.not_explained,
        runs=_table(
            report.runs,
            [("Run", "name"), ("Verdict", "verdict"), ("Started (UTC)", "started_at"), ("Took", "took")],
        ),
        steps=_table(report.steps, [("Framework", "framework"), ("Step", "step"), ("Runs", "runs")]),
        steps_of=[{"run": run, **_table(rows, [("Step", "step")])} for run, rows in report.steps_of.items()],
        token_pictures=by_name["tokens"],
        call_pictures=by_name["calls"],
        minute_pictures=by_name["minutes"],
        minutes=[
            {
                "title": f"{each.run}, {each.api_key_id}, minute by minute",
                "columns": ["Minute (UTC)", "Calls", "Unknown", "Book in", "Bill in", "Book out", "Bill out", "Left"],
                "rows": [_minute(row) for row in each.rows],
            }
            for each in report.minutes
            if each.rows
        ],
        outside=outside_text(report),
        unknown=[
            [
                cell(row["started_at"]),
                run_name(row["framework"], row["run_id"]),
                *(cell(row[name]) for name in ("step", "model", "outcome", "why", "settled_by")),
            ]
            for row in report.unknown
        ],
        astray=_table(report.astray, [("Framework", "framework")]),
        metering=[
            [
                f"{row['host']} {row['pid']}",
                *(cell(row[name]) for name in ("mode", "version", "upstream", "started_at", "ended_at")),
                cell(row["calls"], grouped=True),
                cell(row["gap_calls"] or 0, grouped=True),
            ]
            for row in report.metering
        ],
        prices=report.prices,
        models=[
            [
                *(cell(row[name]) for name in ("model", "service_tier", "priced_as")),
                cell(row["calls"], grouped=True),
                usd(row["cost_usd"]),
                cell(row["why"]),
            ]
            for row in report.models
        ],
        foot=foot,
    )


def verdict_text(row: Row) -> str:
    """A run's latest verdict in a few words; one that was reached without the waiting times proves nothing."""
    if row["verdict"] is None:
        return "not audited"
    said = f"{row['verdict']} ({row['reason']})" if row["reason"] else str(row["verdict"])
    if row["timing"]:
        return f"{said}: proves nothing (timing: {row['timing']})"
    return said if row["final"] else f"{said}, not final"


def mood(row: Row) -> str:
    """How a verdict is coloured: only a final one that the books agree is good."""
    if row["verdict"] is None or row["timing"]:
        return "wait"
    if row["verdict"] in DIFFER:
        return "bad"
    return "good" if row["verdict"] in AGREE and row["final"] else "wait"


def summary_of(report: Report) -> str:
    """What is reported, in a line."""
    counts = Counter(mood(row) for row in report.runs)
    frameworks = sorted({row["framework"] or "(no framework)" for row in report.runs})
    starts = [row["started_at"] for row in report.runs]
    return (
        f"{len(report.runs)} run{'' if len(report.runs) == 1 else 's'} of {', '.join(frameworks)},"
        f" begun {min(starts):%Y-%m-%d %H:%M} to {max(starts):%Y-%m-%d %H:%M} UTC:"
        f" {counts['good']} with a final verdict that the books agree, {counts['bad']} whose books differ,"
        f" {counts['wait']} not proven either way."
    )


def outside_text(report: Report) -> str:
    """The calls that no sum holds."""
    beside = {name: sum(row[name] or 0 for row in report.runs) for name in ("unknown", "optional", "ambiguous")}
    unmetered = sum(row["calls"] is None and not row["ambiguous"] for row in report.runs)
    astray = sum(row["calls"] for row in report.astray)
    return (
        f"Unknown calls: {beside['unknown']:,}. Optional calls, which may not be billed: {beside['optional']:,}."
        f" Calls that could be of more than one run: {beside['ambiguous']:,}. Runs without a meter: {unmetered:,}."
        f" Calls that no run has: {astray:,}."
    )


def _table(rows: Sequence[Row], first: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Columns and cells of runs or steps: those of `first`, what was used, and the cost where prices hold.

    Calls that no sum holds have a column where there are any; unknown ones always.
    """
    used = [each for each in _USED if each[1] not in ("optional", "ambiguous") or any(row[each[1]] for row in rows)]
    priced = [("US dollars", "cost_usd"), ("Unpriced", "unpriced")] if rows and "cost_usd" in rows[0] else []
    columns = [*first, *used, *priced]
    return {
        "columns": [title for title, _ in columns],
        "rows": [[_cell(row, name) for _, name in columns] for row in rows],
    }


def _cell(row: Row, name: str) -> str:
    if name == "step":
        return NO_STEP if row["step"] is None else str(row["step"])
    if name == "verdict":
        return verdict_text(row)
    if name == "cost_usd":
        return usd(row[name])
    if name == "took":
        ended = row["ended_at"]
        return duration((ended - row["started_at"]).total_seconds()) if ended else "open"
    return cell(row[name], grouped=True)


def _minute(row: Row) -> list[str]:
    sides = [row[f"{side}_{name}_tokens"] for name in ("input", "output") for side in ("book", "bill")]
    left = None
    if row["bill_input_tokens"] is not None:
        book_in, bill_in, book_out, bill_out = (count or 0 for count in sides)
        left = f"{bill_in + bill_out - book_in - book_out:+,}"
    counts = [row["calls"], row["unknown"], *sides]
    return [f"{row['minute']:%Y-%m-%d %H:%M}", *(cell(count, grouped=True) for count in counts), left or "-"]
