"""How an audit is shown: a line a run, what differs under it, what nobody claimed, and one line for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..data.clock import US_PER_MINUTE, utc
from .output import duration, print_json

if TYPE_CHECKING:
    from ..audit.report import AuditReport, PartLine, RunLine, RunStanding, UnclaimedMinute
    from ..audit.window import Window

NOTHING_TO_DO = "No runs need reconciliation"


def print_report(report: AuditReport) -> None:
    """The report for people and logs."""
    for standing in report.skipped:
        click.echo(f"{standing.name}  skipped: {standing_text(standing)}")
    width = max((len(line.name) for line in report.runs), default=0)
    for line in report.runs:
        click.echo(f"{line.name:<{width}}  {_line(line)}")
        for part in line.parts:
            _print_part(part, alone=len(line.parts) == 1)
    for each in report.unclaimed:
        click.echo(f"unclaimed  {unclaimed_text(each)}")
    for api_key_id, window in report.unread:
        click.echo(f"unread     {api_key_id}  {window_text(window)}: nobody knows what was billed here")
    if report.timing:
        click.echo(f"timing: {report.timing} (the waiting rules are switched off)")
    click.echo(_summary(report))


def print_report_log(report: AuditReport, *, now_us: int) -> None:
    """The report for a log: a line a run, a line for each bill that nobody claims, the summary; each with its time."""
    at = f"{utc(now_us):%Y-%m-%dT%H:%M:%SZ}"
    for line in report.runs:
        said = [f"{line.name}  {_line(line)}"]
        said += [
            f"{unit['usage_endpoint']} {unit['model']} {unit['field']} d {unit['d']:+,}"
            for part in line.parts
            if part.detail.get("bill_known")
            for unit in part.detail["units"]
            if unit["compared"] and unit["d"]
        ]
        if line.message:
            said.append(f"the Usage API said: {' '.join(line.message.split())}")
        click.echo(f"{at}  {'; '.join(said)}")
    for each in report.unclaimed:
        click.echo(f"{at}  unclaimed  {unclaimed_text(each)}")
    for api_key_id, window in report.unread:
        click.echo(f"{at}  unread  {api_key_id}  {window_text(window)}")
    timing = f" (timing: {report.timing})" if report.timing else ""
    click.echo(f"{at}  {_summary(report)}{timing}")


def _summary(report: AuditReport) -> str:
    return report.summary if report.runs or report.unclaimed or report.unread else NOTHING_TO_DO


def print_report_json(report: AuditReport, beside: Mapping[str, Any]) -> None:
    """The same as one JSON document. `beside`: what else it says."""
    print_json(
        {
            "summary": report.summary,
            "exit_code": report.exit_code,
            "timing": report.timing,
            "reads": report.reads,
            "settings": report.settings,
            "runs": [_run_record(line) for line in report.runs],
            "unclaimed": [unclaimed_record(each) for each in report.unclaimed],
            "unread": [{"api_key_id": key, **window_record(window)} for key, window in report.unread],
            "skipped": [standing_record(standing) for standing in report.skipped],
            **beside,
        }
    )


def standing_text(standing: RunStanding) -> str:
    """Why a run waits for an audit, or why it does not, in words."""
    age = "" if standing.age_min is None else duration(standing.age_min * 60)
    words = {
        "never_read": f"waits for its first audit, ended {age} ago",
        "not_final": "was read and is not final yet",
        "final": "final",
        "not_ended": "has not ended",
        "too_young": f"ended {age} ago, too young for --min-age",
        "too_old": f"ended {age} ago and was never read, too old for --max-age",
    }[standing.waiting.value]
    return f"{words} ({standing.verdict})" if standing.verdict else words


def standing_record(standing: RunStanding) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "name": standing.name,
        "framework": standing.run[0],
        "run_id": standing.run[1],
        "needs_audit": standing.needs_audit,
        "waiting": standing.waiting,
        "ended_at": None if standing.ended_us is None else utc(standing.ended_us),
        "age_min": standing.age_min,
        "verdict": standing.verdict,
        "attempts": standing.attempts,
    }


def window_text(window: Window) -> str:
    """Whole minutes, UTC, the end not included."""
    return f"{minute_text(window.start)} to {minute_text(window.end)} UTC"


def _line(line: RunLine) -> str:
    said = str(line.verdict)
    if line.reason:
        said += f" ({line.reason})"
    said += f", attempt {line.attempt}"
    if line.earlier_final:
        said += f"; {line.earlier_final} stands from before"
    if line.keyless:
        said += f"; {line.keyless} calls on keys without an id"
    if line.next_read_us is not None and not line.final:
        said += f"; next read {utc(line.next_read_us):%Y-%m-%d %H:%M} UTC"
    return said


def _print_part(part: PartLine, *, alone: bool) -> None:
    """What one key's minutes say: units that differ, or the equal sums, and what stands beside them."""
    verdict = "" if alone else f"  {part.verdict}{f' ({part.reason})' if part.reason else ''}"
    click.echo(f"    {part.api_key_id}  {window_text(part.window)}{verdict}")
    if part.joint:
        names = [f"{run[0]}/{run[1]}" if run[0] else run[1] for run in part.runs]
        click.echo(f"      joint: {', '.join(names)}")
    if part.message:
        request = f" (request {part.request_id})" if part.request_id else ""
        click.echo(f"      the Usage API said: {part.message}{request}")
    if part.stands:
        click.echo(f"      stands since {utc(part.audited_us):%Y-%m-%d %H:%M} UTC")
        return
    if part.detail.get("bill_known"):
        for unit in part.detail["units"]:
            click.echo(f"      {unit_text(unit)}")
    unknown = part.detail.get("unknown", {}).get("calls", 0)
    if unknown:
        click.echo(f"      unknown: {unknown} calls (submeter sql unknown)")
    for each in part.detail.get("uncovered", ()):
        click.echo(f"      uncovered: {each['calls']} calls of {each['endpoint']} {each['model']}".rstrip())
    for each in part.detail.get("set_aside", ()):
        click.echo(f"      set aside: {each['rows']} bill rows of {each['model']} ({each['because']})")


def unit_text(unit: dict[str, Any]) -> str:
    """One unit of both books."""
    named = f"{unit['usage_endpoint']} {unit['model']} {unit['field']}"
    if not unit["compared"]:
        return f"{named}: book {unit['book']:,}, bill {unit['bill']:,}, uncompared (the answers did not say)"
    if unit["d"] == 0:
        return f"{named}: book = bill = {unit['bill']:,}"
    return f"{named}: book {unit['book']:,}, bill {unit['bill']:,}, d {unit['d']:+,}"


def unclaimed_text(each: UnclaimedMinute) -> str:
    """One minute's bill that no call and no run accounts for."""
    used = [
        f"{count:,} {word}"
        for count, word in (
            (each.input_tokens, "input"),
            (each.cached_input_tokens, "of them cached"),
            (each.output_tokens, "output"),
            (each.images, "images"),
        )
        if count
    ]
    return f"{each.api_key_id}  {minute_text(each.minute)} UTC  {each.usage_endpoint} {each.model}: {', '.join(used)}"


def unclaimed_record(each: UnclaimedMinute) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "api_key_id": each.api_key_id,
        "minute": utc(each.minute * US_PER_MINUTE),
        "usage_endpoint": each.usage_endpoint,
        "model": each.model,
        "input_tokens": each.input_tokens,
        "cached_input_tokens": each.cached_input_tokens,
        "output_tokens": each.output_tokens,
        "images": each.images,
    }


def _run_record(line: RunLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "framework": line.run[0] if line.run else None,
        "run_id": line.run[1] if line.run else None,
        "verdict": line.verdict,
        "reason": line.reason,
        "final": line.final,
        "attempt": line.attempt,
        "earlier_final": line.earlier_final,
        "keyless_calls": line.keyless,
        "next_read_at": None if line.next_read_us is None else utc(line.next_read_us),
        "parts": [
            {
                "audit_id": part.audit_id,
                "audited_at": utc(part.audited_us),
                "api_key_id": part.api_key_id,
                **window_record(part.window),
                "verdict": part.verdict,
                "reason": part.reason,
                "final": part.final,
                "proof": part.proof,
                "stands": part.stands,
                "runs": [f"{run[0]}/{run[1]}" if run[0] else run[1] for run in part.runs],
                "message": part.message,
                "request_id": part.request_id,
                "detail": part.detail,
            }
            for part in line.parts
        ],
    }


def window_record(window: Window) -> dict[str, Any]:
    """The same for JSON."""
    return {"window_start": utc(window.start_us), "window_end": utc(window.end_us)}


def minute_text(minute: int) -> str:
    """A whole minute since 1970-01-01 UTC."""
    return f"{utc(minute * US_PER_MINUTE):%Y-%m-%d %H:%M}"
