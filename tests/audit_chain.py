"""Chains made by hand for tests of the pure audit: calls and bills by minute, reads that have settled, one key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.chain import Chain, KeyFacts, Share, chain_windows, run_window
from submeter.audit.facts import key_facts, uses_of
from submeter.audit.finding import ChainFinding, Finding
from submeter.audit.history import History, Read, rows_by_minute
from submeter.audit.reconcile import Place, judge_chain
from submeter.audit.unit import BillRow, BookRow, RunName
from submeter.audit.unknown import Gap
from submeter.audit.window import Window
from submeter.data.call import Standing

MINUTE_US = 60_000_000
K = 5
MODEL, OTHER_MODEL = "gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14"
RUN, NEXT = ("baes", "r-1"), ("baes", "r-2")
LATER = 2000
"""A minute in which everything here has long settled."""
Tokens = tuple[int, int, int]
"""Input, cached input, output."""
SOME: Tokens = (100, 40, 10)


def booked(minute: int = 1001, tokens: Tokens = SOME, **fields: object) -> BookRow:
    """A counted call of RUN that began and ended in this minute."""
    row = BookRow(
        first_minute=minute - 1,
        end_minute=minute,
        last_minute=minute + 1 + K,
        standing=Standing.COUNTED,
        usage_endpoint="completions",
        endpoint="chat/completions",
        model=MODEL,
        run=RUN,
        open=False,
        loose=False,
        any_model=False,
        calls=1,
        input_tokens=tokens[0],
        cached_input_tokens=tokens[1],
        cached_silent=0,
        cache_write_tokens=None,
        output_tokens=tokens[2],
        images=None,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def unknown(minute: int = 1001, **fields: object) -> BookRow:
    """A call whose usage nobody told."""
    row = booked(minute, standing=Standing.UNKNOWN, models=frozenset({MODEL}))
    row = replace(row, input_tokens=None, cached_input_tokens=None, output_tokens=None)
    return replace(row, **fields)  # type: ignore[arg-type]


def pictured(minute: int = 1001, images: int = 1, **fields: object) -> BookRow:
    """A counted call for images."""
    row = booked(minute, usage_endpoint="images", model="gpt-image-1", images=images)
    row = replace(row, input_tokens=None, cached_input_tokens=None, output_tokens=None)
    return replace(row, **fields)  # type: ignore[arg-type]


def billed(minute: int = 1001, tokens: Tokens = SOME, **fields: object) -> BillRow:
    """One row of the bill."""
    row = BillRow(
        usage_endpoint=UsageEndpoint.COMPLETIONS,
        minute=minute,
        model=MODEL,
        batch=False,
        input_tokens=tokens[0],
        cached_input_tokens=tokens[1],
        cache_write_tokens=None,
        output_tokens=tokens[2],
        images=None,
        num_model_requests=1,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def shared(begin: int = 1000, end: int = 1003, run: RunName | None = RUN, **fields: object) -> Share:
    """A run with marks in these minutes."""
    window = run_window(begin_minute=begin, end_minute=end, active=None, shift_min=K)
    return replace(Share(run=run, window=window), **fields)  # type: ignore[arg-type]


def read(minute: float, window: Window, number: int, endpoint: UsageEndpoint, problem: str | None = None) -> Read:
    return Read(
        read_id=f"{endpoint}-{number}",
        asked_us=int(minute * MINUTE_US),
        window=window,
        good=problem is None,
        problem=problem,
    )


def histories(
    bills: Sequence[Sequence[BillRow] | str],
    window: Window,
    *,
    at: Sequence[float] | None = None,
    failing: UsageEndpoint | None = None,
) -> dict[UsageEndpoint, History]:
    """Reads of these bills, oldest first, by default half an hour apart from LATER on.

    A word instead of a bill is what was wrong with that read, at `failing` alone if one is given.
    """
    minutes = at or [LATER + 30 * number for number in range(len(bills))]
    found = {}
    for endpoint in UsageEndpoint:
        reads, rows = [], {}
        for number, (bill, minute) in enumerate(zip(bills, minutes, strict=True)):
            failed = isinstance(bill, str) and failing in (None, endpoint)
            each = read(minute, window, number, endpoint, str(bill) if failed else None)
            reads.append(each)
            if not failed:
                shown = () if isinstance(bill, str) else bill
                rows[each.read_id] = rows_by_minute(row for row in shown if row.usage_endpoint is endpoint)
        found[endpoint] = History(usage_endpoint=endpoint, reads=tuple(reads), rows=rows)
    return found


def chained(
    rows: Sequence[BookRow],
    *bills: Sequence[BillRow] | str,
    shares: Sequence[Share] | None = None,
    gaps: Sequence[Gap] = (),
    at: Sequence[float] | None = None,
    failing: UsageEndpoint | None = None,
    read_until: int | None = None,
    facts: Mapping[str, object] | None = None,
    **fields: object,
) -> Chain:
    """One chain of all these calls and runs; one bill stands for two reads of it."""
    shares = list(shares) if shares is not None else [shared()]
    active = [(row.first_minute, row.last_minute) for row in rows]
    active += [(gap.first_minute, gap.last_minute) for gap in gaps]
    (window,) = chain_windows(active, [share.window for share in shares])
    reads = list(bills) * 2 if len(bills) == 1 else list(bills)
    shown = {row for bill in reads if not isinstance(bill, str) for row in bill}
    known: KeyFacts = key_facts(
        uses=uses_of(rows), billed={(row.usage_endpoint, row.model) for row in shown if not row.batch}, proven=True
    )
    chain = Chain(
        api_key_id="key_a",
        window=window,
        rows=rows,
        gaps=gaps,
        shares=shares,
        histories=histories(reads, Window(start=window.start, end=read_until or window.end), at=at, failing=failing),
        facts=replace(known, **(facts or {})),  # type: ignore[arg-type]
        shift_min=K,
        now_us=(int((at or [LATER + 30])[-1]) + 1) * MINUTE_US,
    )
    return replace(chain, **fields)  # type: ignore[arg-type]


def found(
    rows: Sequence[BookRow], *bills: Sequence[BillRow] | str, place: Place | None = None, **fields: object
) -> ChainFinding:
    return judge_chain(chained(rows, *bills, **fields), place=place)  # type: ignore[arg-type]


def first_finding(rows: Sequence[BookRow], *bills: Sequence[BillRow] | str, **fields: object) -> Finding:
    return found(rows, *bills, **fields).findings[0]  # type: ignore[arg-type]


def said(rows: Sequence[BookRow], *bills: Sequence[BillRow] | str, **fields: object) -> str:
    """Verdict of the first run, and the reason if there is one."""
    finding = first_finding(rows, *bills, **fields)
    return str(finding.verdict) if finding.reason is None else f"{finding.verdict} ({finding.reason})"
