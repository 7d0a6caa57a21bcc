"""Single calls, to be named in a verdict or pointed at by an explanation; never to be summed.

Answers of `audit_unknown_calls.sql`, `audit_calls.sql` and `audit_inferred.sql` as typed rows. Times are microseconds
UTC.
"""

from __future__ import annotations

from dataclasses import dataclass

from .questions import Asking
from .unit import RunName
from .window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCall:
    """One unknown call, to be named in a verdict."""

    call_id: str
    started_us: int
    run: RunName | None
    step: str | None
    outcome: str
    usage_endpoint: str | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedCall:
    """One call that tells its usage, counted or optional, for an explanation to point at."""

    call_id: str
    started_us: int
    run: RunName | None
    step: str | None
    usage_endpoint: str
    model: str | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    images: int | None
    seen_twice: bool
    hosted: bool
    """A hosted tool ran: content that it read, or what it drew, may be billed beside what the call reports."""
    drew: bool
    """It told tokens of images outside its usage."""
    optional: bool
    """What it reports may not be billed; it is in no book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredCall:
    """What an unknown call would have used if all that is left of its part were its own. Summed nowhere."""

    audit_id: str
    """The audit that inferred it."""
    audited_us: int
    call_id: str
    run: RunName | None
    step: str | None
    counts: dict[str, int]
    """Tokens or images by field; a field that nothing can be said of is not here."""


def inferred_call(asked: Asking, api_key_id: str, window: Window) -> InferredCall | None:
    """The number that the latest audit of these minutes inferred; None: it inferred none."""
    part = {"api_key_id": api_key_id, "window_start_us": window.start_us, "window_end_us": window.end_us}
    fields = ("input_tokens", "cached_input_tokens", "output_tokens", "images")
    for audit_id, audited_us, call_id, framework, run_id, step, *counts in asked.rows("audit_inferred", part):
        return InferredCall(
            audit_id=audit_id,
            audited_us=audited_us,
            call_id=call_id,
            run=None if run_id is None else (framework, run_id),
            step=step,
            counts={name: count for name, count in zip(fields, counts, strict=True) if count is not None},
        )
    return None


def counted_calls(asked: Asking, api_key_id: str, window: Window, *, most: int) -> tuple[CountedCall, ...]:
    """The counted and optional calls of one key begun in a window, oldest first, at most `most`."""
    period = {"api_key_id": api_key_id, "from_us": window.start_us, "to_us": window.end_us, "most": most}
    return tuple(
        CountedCall(
            call_id=call_id,
            started_us=started_us,
            run=None if run_id is None else (framework, run_id),
            step=step,
            usage_endpoint=usage_endpoint,
            model=model,
            input_tokens=input_tokens,
            cached_input_tokens=cached,
            output_tokens=output_tokens,
            images=images,
            seen_twice=bool(seen_twice),
            hosted=bool(hosted),
            drew=bool(drew),
            optional=optional,
        )
        for (
            call_id,
            started_us,
            framework,
            run_id,
            step,
            usage_endpoint,
            model,
            input_tokens,
            cached,
            output_tokens,
            images,
            seen_twice,
            hosted,
            drew,
            optional,
        ) in asked.rows("audit_calls", period)
    )


def unknown_calls(asked: Asking, api_key_id: str, window: Window, *, most: int) -> tuple[UnknownCall, ...]:
    """The unknown calls of one key begun in a window, oldest first, at most `most`."""
    period = {"api_key_id": api_key_id, "from_us": window.start_us, "to_us": window.end_us, "most": most}
    return tuple(
        UnknownCall(
            call_id=call_id,
            started_us=started_us,
            run=None if run_id is None else (framework, run_id),
            step=step,
            outcome=outcome,
            usage_endpoint=usage_endpoint,
            model=model,
        )
        for call_id, started_us, framework, run_id, step, outcome, usage_endpoint, model in asked.rows(
            "audit_unknown_calls", period
        )
    )
