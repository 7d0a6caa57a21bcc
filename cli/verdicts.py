"""How an audit is shown: a line a run, what differs under it, what nobody claimed, and one line for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..data.audit_words import CLOSED, reason_words
from ..data.clock import US_PER_MINUTE, utc
from .gate import Astray, gate_lines, gate_summary
from .output import duration, print_json
from .reasons import is_known, minute_text, reason_lines, unit_text

if TYPE_CHECKING:
    from ..audit.report import AuditReport, PartLine, RunLine, RunStanding, UnclaimedMinute
    from ..audit.window import Window


def print_report(report: AuditReport, *, gate: Astray | None = None, framework: str | None = None) -> None:
    """The report for people. `gate`: of an audit of what is pending, the calls that belong to no run."""
    for standing in report.skipped:
        if not standing.done:
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
    for said in _gate_lines(report, gate, framework):
        click.echo(said)
    if settings := _settings_text(report):
        click.echo(settings)
    click.echo(_summary(report, gate))


def print_report_log(
    report: AuditReport, *, now_us: int, gate: Astray | None = None, framework: str | None = None
) -> None:
    """The report for a log: a line a run, a line for each bill that nobody claims, the summary; each with its time."""
    at = f"{utc(now_us):%Y-%m-%dT%H:%M:%SZ}"
    for line in report.runs:
        said = [f"{line.name}  {_line(line)}"]
        said += [text for part in line.parts for text in _reasons(part)]
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
    for said_of_gate in _gate_lines(report, gate, framework):
        click.echo(f"{at}  {said_of_gate}")
    settings = _settings_text(report)
    click.echo(f"{at}  {_summary(report, gate)}{f' ({settings})' if settings else ''}")


def _gate_lines(report: AuditReport, gate: Astray | None, framework: str | None) -> list[str]:
    return [] if gate is None else gate_lines(report.skipped, gate, framework)


def _summary(report: AuditReport, gate: Astray | None) -> str:
    if gate is None or report.runs or report.unclaimed or report.unread:
        return report.summary
    return gate_summary(report.skipped, gate, report.timing)


def _settings_text(report: AuditReport) -> str:
    return waited_text(report.settings, report.timing)


def waited_text(settings: Mapping[str, Any], timing: str | None) -> str:
    """What a verdict waited for, where that is less than the defaults; empty where it is not, or not known."""
    from ..audit.settings import AuditSettings

    names = ("interval_min", "stable_reads", "settle_min")
    waited = {name: settings[name] for name in names if settings.get(name) is not None}
    interval, reads, settle = (waited.get(name) for name in names)
    said = f"{reads} read{'' if reads == 1 else 's'}, {interval} min apart, the last {settle} min after the end"
    if timing:
        return f"timing: {timing}: {said}; that proves nothing, so no verdict counts"
    return f"below the defaults: {said}" if AuditSettings(**waited).below_defaults else ""


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
            "unlabelled": report.unlabelled,
            **beside,
        }
    )


def standing_text(standing: RunStanding) -> str:
    """Why a run waits for an audit, or why it does not, in words."""
    age = "" if standing.age_min is None else duration(standing.age_min * 60)
    after = "" if standing.next_read_us is None else f", next read {utc(standing.next_read_us):%Y-%m-%d %H:%M} UTC"
    words = {
        "never_read": f"waits for its first audit, ended {age} ago",
        "not_final": "was read and is not final yet",
        "not_due": f"not final, and not due yet{after}",
        "final": "final",
        "closed": f"final: {CLOSED}",
        "not_ended": "has not ended",
        "too_young": f"too young: ended {age} ago, less than --min-age",
        "too_old": f"too old and never read: ended {age} ago, more than --max-age",
    }
    said = words[standing.waiting]
    return f"{standing.verdict}, {said}" if standing.verdict else said


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
        "next_read_at": None if standing.next_read_us is None else utc(standing.next_read_us),
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
    if not line.parts and (why := reason_words(line.reason)):
        said += f": {why}"
    if line.closed:
        said += f"; {CLOSED}"
    if line.keyless:
        said += f"; {line.keyless} calls on keys without an id"
    if line.next_read_us is not None and not line.final:
        said += f"; next read {utc(line.next_read_us):%Y-%m-%d %H:%M} UTC"
    return said


def _print_part(part: PartLine, *, alone: bool) -> None:
    """What one key's minutes say: units that differ, or the equal sums, and what stands beside them."""
    verdict = "" if alone else f"  {part.verdict}{f' ({part.reason})' if part.reason else ''}"
    click.echo(f"    {part.api_key_id}  {window_text(part.window)}{verdict}")
    if part.message:
        request = f" (request {part.request_id})" if part.request_id else ""
        click.echo(f"      the Usage API said: {part.message}{request}")
    if part.stands:
        click.echo(f"      stands since {utc(part.audited_us):%Y-%m-%d %H:%M} UTC")
    for said in _reasons(part):
        click.echo(f"      {said}")
    if part.stands:
        return
    if part.detail.get("bill_known"):
        known = is_known(part.detail, part.window.end_us)
        for unit in part.detail["units"]:
            click.echo(f"      {unit_text(unit, known=known)}")
    if part.detail.get("clock_known") is False:
        click.echo("      no answer told how far off the meter's clock is: the window is a minute wider on each side")
    unknown = part.detail.get("unknown", {}).get("calls", 0)
    if unknown:
        click.echo(f"      unknown: {unknown:,} call{'' if unknown == 1 else 's'} (submeter sql unknown)")
    for each in part.detail.get("uncovered", ()):
        click.echo(f"      uncovered: {each['calls']} calls of {each['endpoint']} {each['model']}".rstrip())
    for each in part.detail.get("set_aside", ()):
        click.echo(f"      set aside: {each['rows']} bill rows of {each['model']} ({each['because']})")


def _reasons(part: PartLine) -> list[str]:
    """Why a part's verdict is what it is. Of one that stands no more is told here than its reason."""
    return reason_lines(part.reason, part.detail, closed=part.closed)


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
    amount = f"{'at most ' if each.at_most else ''}{', '.join(used)}"
    return f"{each.api_key_id}  {minute_text(each.minute)} UTC  {each.usage_endpoint} {each.model}: {amount}"


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
        "at_most": each.at_most,
    }


def _run_record(line: RunLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "framework": line.run[0] if line.run else None,
        "run_id": line.run[1] if line.run else None,
        "verdict": line.verdict,
        "reason": line.reason,
        "final": line.final,
        "closed": line.closed,
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
                "closed": part.closed,
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
