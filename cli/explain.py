"""`submeter explain`: the arithmetic of a run's last audit, what is left, where it lies and who could explain it.

Here an explanation is put into words; it is found in the audit, from stored reads alone. No key is needed, and none is
shown: the line for the shell names `$OPENAI_ADMIN_KEY`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..data.clock import US_PER_MINUTE, utc
from ..data.error import SubmeterError
from ..data.paths import reads_folder
from .invocation import CANNOT_TELL, Invocation, json_option, ledger_option, named_environment, pass_invocation
from .output import print_json, records
from .reasons import is_known, minutes_text, reason_lines, unit_text
from .runs import RunName, find_run
from .verdicts import unclaimed_record, unclaimed_text, waited_text, window_record, window_text

if TYPE_CHECKING:
    from ..audit.explain import Explanation, PartExplanation
    from ..audit.named_calls import InferredCall
    from ..audit.residual import Candidate, Residual
    from ..data.ledger import Ledger

_COULD_BE = {
    "bypass": "a call with this key that went past the meter",
    "unknown": "a call whose usage nobody stated",
    "hosted": "what a hosted tool read (search content blocks) or drew may be billed beside what its call reports",
    "optional": "reported amounts of which it is not known yet whether they are billed",
    "neighbour": "another run on the same key in the same minutes",
    "late": "billed later than the shift allows, for as much is unclaimed right after: audit it with a larger --shift",
    "still_settling": "the provider still adds to these minutes: audit the run again",
    "key_id": "billed to a key id other than this one, or not at all",
    "seen_twice": "one response that is in the book twice: two calls carry one request id",
    "another_ledger": "calls that a second meter wrote into a ledger of its own: copy its journals in",
    "uncovered": "calls without a token total in the same minutes, which may be billed in tokens all the same",
}

_INFERRED_FIELDS = ("input_tokens", "cached_input_tokens", "output_tokens", "images")
_SUMMED_NOWHERE = "stored apart, summed nowhere"
_STAYS_INCOMPLETE = (
    "the verdict stays incomplete: an abort that was billed nothing, beside a call past the meter, looks the same"
)


@click.command()
@click.argument("run", metavar="RUN")
@json_option
@ledger_option
@pass_invocation
def explain(invocation: Invocation, run: str, as_json: bool) -> None:
    """Show the arithmetic of a run's last audit.

    For everything that the two books differ by: model, fields, the minutes it can lie in and who could explain it, the
    UTC window to set in the provider's dashboard, and the read as a curl line. Rests on stored reads, asks nobody.

    \b
    Example:
        submeter explain chatdev/r-1
        submeter explain chatdev/r-1 --json
    """
    ledger = invocation.open_ledger(as_it_is=True)
    found = find_run(ledger, run)
    last = last_audit(ledger, found)
    explanation = explained(invocation, ledger, found, last)
    if as_json:
        print_json(_record(explanation, last))
    else:
        _print(explanation, last)


def last_audit(ledger: Ledger, run: RunName) -> dict[str, Any]:
    """The latest verdict on a run. Raises `SubmeterError` where it was never audited."""
    rows = records(ledger.query("last_audit", {"framework": run.framework, "run_id": run.run_id}))
    if not rows:
        raise SubmeterError(
            f"There is no audit of {run.name} to explain.",
            "Nobody asked the Usage API about this run yet, so there is one book and nothing to compare it with.",
            f"Audit it first: submeter audit {run.name} --wait",
            exit_code=CANNOT_TELL,
        )
    return rows[0]


def explained(invocation: Invocation, ledger: Ledger, run: RunName, last: dict[str, Any]) -> Explanation:
    """The explanation with the shift and the waiting rules of the last audit, whatever the environment has now."""
    from ..audit.choice import AuditRequest
    from ..audit.explain import explain_run
    from ..audit.reads import PageStore
    from ..audit.settings import read_settings

    names = ("settle_min", "interval_min", "stable_reads")
    then = {name: last[name] for name in names if last[name] is not None}
    return explain_run(
        ledger,
        run=run.name,
        request=AuditRequest() if last["shift_min"] is None else AuditRequest(shift_min=last["shift_min"]),
        settings=replace(read_settings(named_environment()), **then),
        clock=invocation.clock,
        store=PageStore(reads_folder(invocation.ledger)),
    )


def _print(explanation: Explanation, last: dict[str, Any]) -> None:
    said = _said(last["verdict"], last["reason"])
    click.echo(f"{explanation.name}  {said}, attempt {last['attempt']}, {last['audited_at']:%Y-%m-%d %H:%M} UTC")
    if waited := waited_text(last, last["timing"]):
        click.echo(f"    {waited}")
    for part in explanation.parts:
        _print_part(part)
    for each in explanation.unclaimed:
        click.echo(f"    unclaimed  {unclaimed_text(each)}")
    if explanation.keyless:
        click.echo(f"    {explanation.keyless} calls on keys without an id: nothing can be compared with them")
    elif not explanation.parts:
        click.echo("    no key id is known for this run: nothing can be compared with it")


def _print_part(part: PartExplanation) -> None:
    from ..audit.verdict import AGREE

    finding = part.finding
    click.echo(f"    {part.api_key_id}  {window_text(part.window)}  {_said(finding.verdict, finding.reason)}")
    if finding.bill_known:
        known = is_known(part.detail, part.window.end_us)
        for unit in _units(part):
            click.echo(f"      {unit_text(unit, known=known)}")
        if not part.residuals and finding.verdict in AGREE:
            click.echo("      nothing is left to explain" if _units(part) else "      no tokens in either book")
    else:
        click.echo("      the bill is not known: there is no good read of these minutes")
    for line in reason_lines(finding.reason, {**part.detail, "spots": ()}):
        click.echo(f"      {line}")
    if part.detail["runs"]:
        click.echo(f"      in the same minutes: {', '.join(part.detail['runs'])}")
    for residual in part.residuals:
        _print_residual(residual)
    if part.inferred:
        _print_inferred(part.inferred)
    click.echo(f"      in the dashboard: {window_text(part.window)}, key {part.api_key_id}")
    for line in part.curl:
        click.echo(f"      {line}")


def _print_residual(residual: Residual) -> None:
    fields = ", ".join(f"{field} {d:+,}" for field, d in residual.differences.items())
    fields = fields or "what is billed too much in some minutes and too little in others cancels out"
    click.echo(f"      left: {residual.usage_endpoint} {residual.model}: {fields}")
    if residual.minutes:
        where = "lies in" if residual.certain else "can lie in"
        click.echo(f"        {where} {minutes_text(residual.minutes)}")
    for candidate in residual.candidates:
        click.echo(f"        {candidate.kind}: {_candidate_text(candidate)}")


def _print_inferred(inferred: InferredCall) -> None:
    counts = ", ".join(f"{field} {count:,}" for field, count in inferred.counts.items())
    where = f" of {_run_text(inferred.run)}" if inferred.run else ""
    where += f" step {inferred.step}" if inferred.run and inferred.step else ""
    click.echo(f"      inferred: call {inferred.call_id}{where}: {counts}")
    click.echo(
        f"        by audit {inferred.audit_id} of {utc(inferred.audited_us):%Y-%m-%d %H:%M} UTC; {_SUMMED_NOWHERE}"
    )
    click.echo(f"        {_STAYS_INCOMPLETE}")


def _inferred_record(inferred: InferredCall) -> dict[str, Any]:
    return {
        "call_id": inferred.call_id,
        "run": _run_text(inferred.run) if inferred.run else None,
        "step": inferred.step,
        "audit_id": inferred.audit_id,
        "audited_at": utc(inferred.audited_us),
        **{field: inferred.counts.get(field) for field in _INFERRED_FIELDS},
        "summed": False,
        "why": f"{_SUMMED_NOWHERE}; {_STAYS_INCOMPLETE}",
    }


def _candidate_text(candidate: Candidate) -> str:
    text = _COULD_BE[candidate.kind]
    if candidate.calls:
        only = ", the only one that the fields allow" if candidate.pinpointed else ""
        text += f" (call{'s' if len(candidate.calls) != 1 else ''} {', '.join(candidate.calls)}{only})"
    if candidate.runs:
        text += f" ({', '.join(_run_text(run) for run in candidate.runs)})"
    if candidate.kind == "late" and candidate.minutes:
        text += f" ({minutes_text(candidate.minutes)})"
    return text


def _units(part: PartExplanation) -> list[dict[str, Any]]:
    return list(part.detail["units"])


def _record(explanation: Explanation, last: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": explanation.name,
        "framework": explanation.run[0],
        "run_id": explanation.run[1],
        "last_audit": last,
        "parts": [_part_record(part) for part in explanation.parts],
        "unclaimed": [unclaimed_record(each) for each in explanation.unclaimed],
        "keyless_calls": explanation.keyless,
    }


def _part_record(part: PartExplanation) -> dict[str, Any]:
    return {
        "api_key_id": part.api_key_id,
        **window_record(part.window),
        "verdict": part.finding.verdict,
        "reason": part.finding.reason,
        "bill_known": part.finding.bill_known,
        "joint": [_run_text(run) for run in part.finding.joint],
        "named": [_run_text(run) for run in part.finding.named],
        "because": list(part.finding.because),
        "units": _units(part) if part.finding.bill_known else [],
        "residuals": [
            {
                "usage_endpoint": residual.usage_endpoint,
                "model": residual.model,
                "differences": {str(field): d for field, d in residual.differences.items()},
                "minutes": [utc(minute * US_PER_MINUTE) for minute in residual.minutes],
                "certain": residual.certain,
                "candidates": [
                    {
                        "kind": candidate.kind,
                        "calls": list(candidate.calls),
                        "runs": [_run_text(run) for run in candidate.runs],
                        "minutes": [utc(minute * US_PER_MINUTE) for minute in candidate.minutes],
                        "pinpointed": candidate.pinpointed,
                    }
                    for candidate in residual.candidates
                ],
            }
            for residual in part.residuals
        ],
        "inferred": _inferred_record(part.inferred) if part.inferred else None,
        "curl": list(part.curl),
    }


def _run_text(run: tuple[str | None, str]) -> str:
    return f"{run[0]}/{run[1]}" if run[0] else run[1]


def _said(verdict: str, reason: str | None) -> str:
    return f"{verdict} ({reason})" if reason else verdict
