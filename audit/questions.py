"""The questions an audit puts to the ledger, and their answers as typed rows.

Each function runs one `audit_*.sql` file; sums come from there. Minutes are whole minutes since 1970-01-01 UTC, times
microseconds UTC. Nothing is judged here, and no other module of the audit knows the order of a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from ..data.call import Standing
from ..data.ledger import DuckConnection, Ledger, named
from .bucket import UsageEndpoint
from .span import Window
from .unit import BillRow, BookRow
from .unknown import Gap
from .verdict import Reason, Verdict

RunName = tuple[str | None, str]
"""Framework (None: none known) and run id."""


class Asking:
    """The ledger, open for a few questions on one state of it."""

    def __init__(self, connection: DuckConnection) -> None:
        self._connection = connection

    def rows(self, name: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """The answer to one `audit_*.sql` file."""
        return self._connection.rows(named(name), parameters)


@contextmanager
def asking(ledger: Ledger) -> Iterator[Asking]:
    """Open the ledger for reading, for the length of a block. Nothing is metered into it meanwhile: be quick."""
    with ledger.reading() as connection:
        yield Asking(connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One episode of a run."""

    run: RunName
    episode: int
    started_us: int
    ended_us: int | None
    """None: still open."""
    end_source: str | None
    last_active_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUse:
    """Creates of one run on one key, open in the same minutes."""

    run: RunName
    api_key_id: str | None
    first_minute: int
    last_minute: int
    creates: int
    keyless: int
    """Those on a key without an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """One sight of a framework's own key."""

    framework: str
    api_key_id: str | None
    seen_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRead:
    """One read of the Usage API as the ledger has it."""

    read_id: str
    usage_endpoint: str
    api_key_id: str
    window: Window
    asked_us: int
    good: bool
    problem: str | None
    status_code: int | None
    message: str | None
    request_id: str | None
    pages: tuple[str, ...]
    holes: int
    rows: int
    """Bucket rows in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """One verdict said before."""

    audit_id: str
    audited_us: int
    scope: str
    """`part` or `run`."""
    run: RunName | None
    api_key_id: str | None
    window: Window | None
    verdict: Verdict
    reason: Reason | None
    final: bool
    timing: str | None
    attempt: int
    proof: str | None
    latest_reads: Mapping[str, str]
    """Usage endpoint to the read it was reached on."""
    book_state: str | None


def episodes(asked: Asking) -> tuple[Episode, ...]:
    """Every run episode, by its begin."""
    return tuple(
        Episode(
            run=(framework, run_id),
            episode=episode,
            started_us=started_us,
            ended_us=ended_us,
            end_source=end_source,
            last_active_us=last_active_us,
        )
        for framework, run_id, episode, started_us, ended_us, end_source, last_active_us in asked.rows("audit_runs")
        if started_us is not None
    )


def state(asked: Asking) -> tuple[int, ...]:
    """How much the ledger holds of what a book is made from: equal, if nothing came between two moments."""
    return tuple(asked.rows("audit_state")[0])


def run_uses(asked: Asking) -> tuple[RunUse, ...]:
    """Which keys every run used, and when."""
    return tuple(
        RunUse(
            run=(framework, run_id),
            api_key_id=api_key_id,
            first_minute=first_minute,
            last_minute=last_minute,
            creates=creates,
            keyless=keyless,
        )
        for framework, run_id, api_key_id, first_minute, last_minute, creates, keyless in asked.rows("audit_run_keys")
    )


def own_keys(asked: Asking) -> tuple[OwnKey, ...]:
    """Every sight of a framework's own key, oldest first within a framework."""
    return tuple(
        OwnKey(framework=framework, api_key_id=api_key_id, seen_us=seen_us)
        for framework, api_key_id, seen_us in asked.rows("audit_framework_keys")
    )


def key_ids_in_use(asked: Asking) -> tuple[str, ...]:
    """Every key id that a create was ever made on."""
    return tuple(api_key_id for (api_key_id,) in asked.rows("audit_used_keys"))


EVER = Window(start=0, end=4_000_000_000)
"""All of time that an audit may meet."""


def book(
    asked: Asking, api_key_ids: Iterable[str], *, shift_min: int, begun_in: Window = EVER, apart: bool = False
) -> dict[str, list[BookRow]]:
    """The minute book of each of these keys: calls begun in a window, by the provider's clock.

    `apart`: a row is so many calls of equal counts.
    """
    found: dict[str, list[BookRow]] = {key: [] for key in api_key_ids}
    period = {"from_us": begun_in.start_us, "to_us": begun_in.end_us}
    answer = asked.rows("audit_book", {"api_key_ids": list(found), "shift_min": shift_min, "apart": apart, **period})
    for (
        key,
        first,
        last,
        standing,
        usage_endpoint,
        endpoint,
        model,
        open_,
        loose,
        any_model,
        calls,
        *sums,
    ) in answer:
        input_tokens, cached, cached_silent, cache_write, output_tokens, images, _ = sums
        found[key].append(
            BookRow(
                first_minute=first,
                last_minute=last,
                standing=Standing(standing),
                usage_endpoint=usage_endpoint,
                endpoint=endpoint,
                model=model,
                open=open_,
                loose=loose,
                any_model=any_model,
                calls=calls,
                input_tokens=input_tokens,
                cached_input_tokens=cached,
                cached_silent=cached_silent,
                cache_write_tokens=cache_write,
                output_tokens=output_tokens,
                images=images,
            )
        )
    return found


def gaps(asked: Asking, *, shift_min: int) -> tuple[Gap, ...]:
    """Where journals lost lines."""
    return tuple(
        Gap(first_minute=first, last_minute=last, calls=calls)
        for first, last, calls in asked.rows("audit_gaps", {"shift_min": shift_min})
    )


def reads(asked: Asking, api_key_ids: Iterable[str]) -> tuple[StoredRead, ...]:
    """The reads of these keys, oldest first."""
    return tuple(
        StoredRead(
            read_id=read_id,
            usage_endpoint=usage_endpoint,
            api_key_id=api_key_id,
            window=Window(start=start_us // 60_000_000, end=end_us // 60_000_000),
            asked_us=asked_us,
            good=good,
            problem=problem,
            status_code=status_code,
            message=message,
            request_id=request_id,
            pages=tuple(pages or ()),
            holes=holes or 0,
            rows=rows,
        )
        for (
            read_id,
            usage_endpoint,
            api_key_id,
            start_us,
            end_us,
            asked_us,
            good,
            problem,
            status_code,
            message,
            request_id,
            pages,
            holes,
            rows,
        ) in asked.rows("audit_reads", {"api_key_ids": list(api_key_ids)})
    )


def read_states(asked: Asking, read_ids: Sequence[str], window: Window) -> dict[str, str]:
    """What each read says of a window, as a digest; `empty` where it has no row in it."""
    window_of = {"read_ids": list(read_ids), "window_start_us": window.start_us, "window_end_us": window.end_us}
    found: dict[str, str] = dict(asked.rows("audit_read_states", window_of))
    return {read_id: found.get(read_id, "empty") for read_id in read_ids}


def bill(asked: Asking, read_ids: Sequence[str], window: Window) -> dict[str, list[BillRow]]:
    """The rows that each read has in a window."""
    window_of = {"read_ids": list(read_ids), "window_start_us": window.start_us, "window_end_us": window.end_us}
    found: dict[str, list[BillRow]] = {read_id: [] for read_id in read_ids}
    for read_id, endpoint, minute, model, batch, _tier, *counts in asked.rows("audit_bill", window_of):
        input_tokens, cached, cache_write, output_tokens, images, requests = counts
        found[read_id].append(
            BillRow(
                usage_endpoint=UsageEndpoint(endpoint),
                minute=minute,
                model=model,
                batch=bool(batch),
                input_tokens=input_tokens,
                cached_input_tokens=cached,
                cache_write_tokens=cache_write,
                output_tokens=output_tokens,
                images=images,
                num_model_requests=requests,
            )
        )
    return found


def proven_keys(asked: Asking) -> frozenset[str]:
    """The key ids that a good read ever showed tokens for."""
    return frozenset(api_key_id for (api_key_id,) in asked.rows("audit_proven_keys"))


def verdicts(asked: Asking) -> tuple[StoredVerdict, ...]:
    """Every verdict so far, oldest first."""
    known = set(Verdict)
    return tuple(_stored_verdict(row) for row in asked.rows("audit_verdicts") if row[8] in known)


def _stored_verdict(row: tuple[Any, ...]) -> StoredVerdict:
    audit_id, audited_us, scope, framework, run_id, key, start_us, end_us, verdict, reason, *rest = row
    final, timing, attempt, proof, latest_reads, book_state = rest
    known = start_us is not None and end_us is not None and end_us > start_us
    return StoredVerdict(
        audit_id=audit_id,
        audited_us=audited_us,
        scope=scope,
        run=None if run_id is None else (framework, run_id),
        api_key_id=key,
        window=Window(start=start_us // 60_000_000, end=end_us // 60_000_000) if known else None,
        verdict=Verdict(verdict),
        reason=Reason(reason) if reason in set(Reason) else None,
        final=bool(final),
        timing=timing,
        attempt=attempt or 0,
        proof=proof,
        latest_reads=orjson.loads(latest_reads) if latest_reads else {},
        book_state=book_state,
    )
