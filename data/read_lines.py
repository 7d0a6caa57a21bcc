"""`usage_read` lines into rows: each read is judged once, when it comes into the ledger, from its raw pages.

A line that says `good` makes a good read and bucket rows only if its pages are all there and make a good read by the
strict rule (`usage_reader`). Else it is stored as not good, with the problem, and without a bucket row, and its place
is told; so whoever uses stored reads later need not look at a page again. Pages that are copied in after their line
was carried are read by `submeter ledger rebuild` alone: until then nothing is guessed of them.

Nothing here asks the network or knows what a bill is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .clock import US_PER_MINUTE
from .columns import BUCKET_COLUMNS, LINES, Form, Kind
from .pages import PageUnusableError, page_body
from .questions import read_sql
from .staging import Connection, PlacedLine, stage_lines, stage_rows
from .usage_pages import BadRead, Problem, UsageEndpoint, UsageRow
from .usage_reader import replay

Place = tuple[str, int, str]
"""A journal's `file_id`, an offset in it, and what is wrong there."""

_JUDGED: dict[str, Form] = {
    "file_id": Form.TEXT,
    "line_offset": Form.INTEGER,
    "good": Form.TRUTH,
    "problem": Form.TEXT,
    "message": Form.TEXT,
    "holes": Form.INTEGER,
    "rows": Form.INTEGER,
}
_TOLD = ("read_id", "usage_endpoint", "api_key_ids", "window_start", "window_end", "asked_at", "pages")
"""What `judge_read` looks at of a line, in the order of `_WAITING`."""
_WAITING = (
    "SELECT file_id, line_offset, read_id, usage_endpoint, api_key_ids, epoch_us(window_start),"
    " epoch_us(window_end), epoch_us(asked_at), pages FROM usage_reads"
    " WHERE problem = $problem ORDER BY file_id, line_offset"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRead:
    """What a line that says `good` is worth."""

    rows: tuple[UsageRow, ...] = ()
    """Empty unless it is good."""
    holes: int | None = None
    """None unless it is good."""
    problem: Problem | None = None
    """None: it is good."""
    message: str | None = None
    """What is wrong and where; None: it is good."""


def judge_read(folder: Path, line: Mapping[str, Any]) -> JudgedRead:
    """Judge a read that says it is good, from its fields and the pages in the `reads/` folder."""
    keys: Sequence[str] = line.get("api_key_ids") or ()
    try:
        if line["usage_endpoint"] not in set(UsageEndpoint):
            raise BadRead(Problem.OTHER_PATH, f"the usage endpoint {line['usage_endpoint']!r:.80} is not known here")
        if len(keys) != 1:
            raise BadRead(Problem.OTHER_KEY, f"{len(keys)} keys were asked for, not one")
        reader = replay(
            UsageEndpoint(line["usage_endpoint"]),
            api_key_id=keys[0],
            window_start=line["window_start"],
            window_end=line["window_end"],
            asked_at=line["asked_at"],
            pages=_bodies(folder, line.get("pages") or ()),
        )
    except PageUnusableError as error:
        return JudgedRead(problem=Problem.NOT_KEPT, message=str(error))
    except BadRead as bad:
        return JudgedRead(problem=bad.problem, message=bad.message)
    return JudgedRead(rows=reader.rows, holes=reader.holes)


def _bodies(folder: Path, digests: Sequence[str]) -> Iterator[bytes]:
    return (page_body(folder, digest) for digest in digests)


def stage_reads(
    connection: Connection, folder: Path, lines: list[PlacedLine]
) -> tuple[list[PlacedLine], list[PlacedLine], list[Place]]:
    """Make `staged_reads`, `judged_reads` and `staged_buckets` of `usage_read` lines.

    Answers the lines that were staged, those that DuckDB would not read, and what is wrong with the others, by place.
    A second line of one read makes no row: its buckets would be counted twice.
    """
    wrong: list[Place] = []
    ids = {str(line.fields["read_id"]) for _, line in lines}
    known = {
        row[0]
        for row in connection.rows(
            "SELECT read_id FROM usage_reads WHERE list_contains(from_json($ids, '[\"VARCHAR\"]'), read_id)",
            {"ids": orjson.dumps(sorted(ids)).decode()},
        )
    }
    first: list[PlacedLine] = []
    for file_id, line in lines:
        read_id = str(line.fields["read_id"])
        if read_id in known:
            wrong.append((file_id, line.offset, f"a second usage_read line of read {read_id}"))
        else:
            known.add(read_id)
            first.append((file_id, line))
    refused = stage_lines(connection, "staged_reads", LINES[Kind.USAGE_READ].columns, first)
    bad = {id(line) for _, line in refused}
    staged = [placed for placed in first if id(placed[1]) not in bad]
    told = [(file_id, line.offset, line.fields) for file_id, line in staged if line.fields["good"]]
    wrong += _stage_judged(connection, folder, told)
    return staged, refused, wrong


def insert_reads(connection: Connection) -> None:
    """The staged reads, as they were judged, and their buckets into the ledger."""
    connection.rows(read_sql("ingest_reads"))
    connection.rows("INSERT INTO usage_buckets BY NAME SELECT * FROM staged_buckets")


def judge_waiting(connection: Connection, folder: Path) -> None:
    """Judge the reads that a ledger of an older submeter brought, which nobody has judged by this rule."""
    waiting = connection.rows(_WAITING, {"problem": str(Problem.NOT_JUDGED)})
    if not waiting:
        return
    told = [(file_id, offset, dict(zip(_TOLD, fields, strict=True))) for file_id, offset, *fields in waiting]
    _stage_judged(connection, folder, told)
    connection.rows("BEGIN TRANSACTION")
    connection.rows(
        "UPDATE usage_reads SET good = j.good, problem = j.problem, message = j.message, holes = j.holes,"
        " rows = j.rows FROM judged_reads AS j"
        " WHERE j.file_id = usage_reads.file_id AND j.line_offset = usage_reads.line_offset"
    )
    connection.rows("INSERT INTO usage_buckets BY NAME SELECT * FROM staged_buckets")
    connection.rows("COMMIT")


def _stage_judged(
    connection: Connection, folder: Path, told: Sequence[tuple[str, int, Mapping[str, Any]]]
) -> list[Place]:
    """Make `judged_reads` and `staged_buckets` of reads that say they are good; where one is not, and why."""
    wrong: list[Place] = []
    judged: list[dict[str, object]] = []
    buckets: list[dict[str, object]] = []
    for file_id, offset, fields in told:
        found = judge_read(folder, fields)
        judged.append(
            {
                "file_id": file_id,
                "line_offset": offset,
                "good": found.problem is None,
                "problem": found.problem,
                "message": found.message,
                "holes": found.holes,
                "rows": len(found.rows),
            }
        )
        buckets += (_bucket_row(fields, row) for row in found.rows)
        if found.problem is not None:
            wrong.append((file_id, offset, f"{found.message} ({found.problem})"))
    stage_rows(connection, "judged_reads", _JUDGED, judged)
    stage_rows(connection, "staged_buckets", BUCKET_COLUMNS, buckets)
    return wrong


def _bucket_row(read: Mapping[str, Any], row: UsageRow) -> dict[str, object]:
    return {
        "read_id": read["read_id"],
        "usage_endpoint": read["usage_endpoint"],
        "minute": row.minute * US_PER_MINUTE,
        "api_key_id": row.api_key_id,
        "model": row.model,
        "batch": row.batch,
        "service_tier": row.service_tier,
        "input_tokens": row.input_tokens,
        "input_cached_tokens": row.input_cached_tokens,
        "input_cache_write_tokens": row.input_cache_write_tokens,
        "output_tokens": row.output_tokens,
        "images": row.images,
        "num_model_requests": row.num_model_requests,
    }
