"""The questions an audit puts to the ledger, and their answers as typed rows.

Each function runs one `audit_*.sql` file; sums come from there. Minutes are whole minutes since 1970-01-01 UTC, times
microseconds UTC. Nothing is judged here, and no other module of the audit knows the order of a column.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..data.call import Standing
from ..data.clock import US_PER_MINUTE
from ..data.ledger import DuckConnection, Ledger, named
from .bucket import UsageEndpoint
from .known_names import answers, model_names
from .unit import BillRow, BookRow, RunName
from .unknown import Gap
from .window import Window

if TYPE_CHECKING:
    from .past import Past

EVER_US = -10_000_000_000_000_000
"""Before all that a ledger may tell of."""
FEW_CALLS = 300_000
"""With fewer calls a second thread costs more CPU than it saves time."""

Stretch = tuple[str, Window]
"""A key id and minutes of it."""


class Asking:
    """The ledger, open for a few questions on one state of it.

    `past`: what is known of all before an instant; the rows of then are not asked for again, and answers are put
    together of both. None: the answers are those of the whole ledger.
    """

    def __init__(self, connection: DuckConnection, *, past: Past | None = None) -> None:
        self.connection = connection
        self.past = past
        self.since = {"since_us": EVER_US if past is None else past.until_us}
        if connection.rows("SELECT count(*) FROM readings")[0][0] >= FEW_CALLS:
            connection.rows("RESET threads")
        self._calls_are_laid_out = False

    def rows(self, name: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """The answer to one `audit_*.sql` file."""
        sql = named(name)
        if not self._calls_are_laid_out and ("audit_creates" in sql or "audited_calls" in sql):
            self._lay_out_calls()
        return self.connection.rows(sql, parameters)

    def _lay_out_calls(self) -> None:
        """Half of the questions stand on the calls: they are worked out once a look.

        What an earlier look on this connection laid out would be taken for the ledger's own view.
        """
        self.connection.rows("DROP VIEW IF EXISTS temp.audit_creates")
        self.connection.rows("DROP TABLE IF EXISTS temp.audited_calls")
        self.connection.rows(
            "CREATE TEMP TABLE audited_calls AS FROM audited_calls WHERE started_us >= $since_us", self.since
        )
        self.connection.rows("CREATE TEMP VIEW audit_creates AS FROM audited_calls WHERE operation = 'create'")
        self._calls_are_laid_out = True


@contextmanager
def asking(ledger: Ledger) -> Iterator[Asking]:
    """Open the ledger for reading, for the length of a block. Nothing is metered into it meanwhile: be quick."""
    with ledger.looking() as connection:
        yield Asking(connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Creates of one key and run, active without a minute between them."""

    api_key_id: str | None
    """None: keys without an id."""
    run: RunName | None
    first_minute: int
    last_minute: int
    creates: int
    counted: int
    open: int
    keyless: int
    """Creates on a key without an id, which nothing can be compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRead:
    """One read of the Usage API as the ledger has it."""

    read_id: str
    usage_endpoint: UsageEndpoint
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


def ambiguous(asked: Asking) -> dict[RunName, int]:
    """How many calls could be of each run or of another; runs without any are not here."""
    return {(framework, run_id): calls for framework, run_id, calls in asked.rows("audit_ambiguous", asked.since)}


def activities(asked: Asking, *, shift_min: int) -> tuple[Activity, ...]:
    """When every key was active, and for which runs."""
    return tuple(
        Activity(
            api_key_id=api_key_id,
            run=None if run_id is None else (framework, run_id),
            first_minute=first,
            last_minute=last,
            creates=creates,
            counted=counted,
            open=open_,
            keyless=keyless,
        )
        for api_key_id, framework, run_id, first, last, creates, counted, open_, keyless in asked.rows(
            "audit_activity", {"shift_min": shift_min}
        )
    )


def period_ends(
    asked: Asking, begun_in: Window, *, shift_min: int, framework: str | None
) -> tuple[dict[str, int], int]:
    """Of the calls whose first active minute lies in a window: each key's last active minute, and how many of them are
    on keys without an id."""
    period = {"from_minute": begun_in.start, "to_minute": begun_in.end, "shift_min": shift_min, "framework": framework}
    rows = asked.rows("audit_period_ends", period)
    return {key: last for key, last, _ in rows if key is not None}, sum(keyless for _, _, keyless in rows)


def own_keys(asked: Asking) -> dict[str, frozenset[str]]:
    """Every key id that each framework's own key ever had."""
    found: dict[str, set[str]] = defaultdict(set)
    for framework, api_key_id, _ in asked.rows("audit_framework_keys"):
        if api_key_id is not None:
            found[framework].add(api_key_id)
    return {framework: frozenset(ids) for framework, ids in found.items()}


def _stretches(stretches: Iterable[Stretch]) -> dict[str, object]:
    """As JSON text: DuckDB looks for Python packages anew at each value of a list that it is given as a list."""
    listed = [{"api_key_id": key, "from_minute": window.start, "to_minute": window.end} for key, window in stretches]
    return {"stretches": orjson.dumps(listed).decode()}


EVER = Window(start=-1, end=4_000_000_000)
"""All of time that an audit may meet."""


def book(
    asked: Asking, api_key_ids: Iterable[str], *, shift_min: int, within: Window = EVER, apart: bool = False
) -> dict[str, list[BookRow]]:
    """The book of each of these keys: all calls whose first active minute lies in a window."""
    found = books(
        asked,
        [(key, within) for key in api_key_ids],
        shift_min=shift_min,
        answered=answers(asked),
        apart=apart,
    )
    return {key: rows for (key, _), rows in found.items()}


def books(
    asked: Asking,
    stretches: Iterable[Stretch],
    *,
    shift_min: int,
    answered: Mapping[str, frozenset[str]],
    apart: bool,
) -> dict[tuple[str, int], list[BookRow]]:
    """The book of each stretch, by its key and first minute. `apart`: a row is so many calls of equal counts."""
    wanted = list(stretches)
    found: dict[tuple[str, int], list[BookRow]] = {(key, window.start): [] for key, window in wanted}
    for (
        key,
        stretch,
        first,
        end,
        standing,
        usage_endpoint,
        endpoint,
        response_model,
        request_model,
        framework,
        run_id,
        open_,
        loose,
        any_model,
        hosted,
        optional_class,
        _,
        calls,
        input_tokens,
        cached,
        cached_silent,
        cache_write,
        output_tokens,
        images,
    ) in asked.rows("audit_book", {**_stretches(wanted), "apart": apart}):
        model, models = model_names(response_model, request_model, answered)
        found[key, stretch].append(
            BookRow(
                first_minute=first,
                end_minute=end,
                last_minute=end + 1 + shift_min,
                standing=Standing(standing),
                usage_endpoint=usage_endpoint,
                endpoint=endpoint,
                model=model,
                models=models if standing == Standing.UNKNOWN else frozenset(),
                run=None if run_id is None else (framework, run_id),
                open=open_,
                loose=loose,
                any_model=any_model,
                hosted=hosted,
                optional_class=optional_class,
                calls=calls,
                apart=apart or calls == 1,
                input_tokens=input_tokens,
                cached_input_tokens=cached,
                cached_silent=cached_silent,
                cache_write_tokens=cache_write,
                output_tokens=output_tokens,
                images=images,
            )
        )
    return found


def call_digests(asked: Asking, stretches: Iterable[Stretch]) -> dict[tuple[str, int, int], str]:
    """What the ledger holds of the calls begun in each stretch, by key, first minute and end."""
    return {
        (key, start, end): calls_text(calls, digest)
        for key, start, end, calls, digest in asked.rows("audit_call_digests", _stretches(stretches))
    }


def calls_text(calls: int, digest: str) -> str:
    """How many calls, and which: equal texts, equal calls."""
    return f"{calls} calls {digest}"


def gaps(asked: Asking, *, shift_min: int) -> tuple[Gap, ...]:
    """Where journals lost lines."""
    return tuple(
        Gap(first_minute=first, last_minute=last, calls=calls)
        for first, last, calls in asked.rows("audit_gaps", {"shift_min": shift_min})
    )


def read_windows(asked: Asking) -> dict[str, list[tuple[Window, int]]]:
    """Where each key was read, and when last."""
    found: dict[str, list[tuple[Window, int]]] = defaultdict(list)
    for key, start_us, end_us, asked_us, _ in asked.rows("audit_latest_reads", asked.since):
        if end_us > start_us:
            window = Window(start=start_us // US_PER_MINUTE, end=end_us // US_PER_MINUTE)
            found[key].append((window, asked_us))
    return found


def reads(asked: Asking, stretches: Iterable[Stretch]) -> tuple[StoredRead, ...]:
    """The reads that hold a minute of these stretches, oldest first."""
    known = set(UsageEndpoint)
    return tuple(
        StoredRead(
            read_id=read_id,
            usage_endpoint=UsageEndpoint(usage_endpoint),
            api_key_id=api_key_id,
            window=Window(start=start_us // US_PER_MINUTE, end=end_us // US_PER_MINUTE),
            asked_us=asked_us,
            good=good,
            problem=problem,
            status_code=status_code,
            message=message,
            request_id=request_id,
            pages=tuple(pages or ()),
            holes=holes or 0,
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
        ) in asked.rows("audit_reads", {**_stretches(stretches), **asked.since})
        if usage_endpoint in known and end_us > start_us
    )


def showing_reads(asked: Asking, api_key_id: str, *, most: int) -> tuple[StoredRead, ...]:
    """Good reads of a key that showed a token or an image, latest first; at most so many."""
    minutes = dict(asked.rows("audit_showing_reads", {"api_key_id": api_key_id, "most": most}))
    found = reads(asked, [(api_key_id, Window(start=minute, end=minute + 1)) for minute in minutes.values()])
    return tuple(read for read in reversed(found) if read.read_id in minutes)


def bill(asked: Asking, stretches: Iterable[Stretch], read_ids: Sequence[str]) -> dict[str, list[BillRow]]:
    """The rows that each of these reads has in these stretches."""
    found: dict[str, list[BillRow]] = {read_id: [] for read_id in read_ids}
    if not read_ids:
        return found
    for read_id, endpoint, _, minute, model, batch, tier, *counts in asked.rows(
        "audit_bill", {**_stretches(stretches), "read_ids": orjson.dumps(list(read_ids)).decode()}
    ):
        input_tokens, cached, cache_write, output_tokens, images, requests = counts
        found[read_id].append(
            BillRow(
                usage_endpoint=UsageEndpoint(endpoint),
                minute=minute,
                model=model,
                batch=bool(batch),
                service_tier=tier,
                input_tokens=input_tokens,
                cached_input_tokens=cached,
                cache_write_tokens=cache_write,
                output_tokens=output_tokens,
                images=images,
                num_model_requests=requests,
            )
        )
    return found
