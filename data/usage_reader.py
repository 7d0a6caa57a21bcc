"""A read of the Usage API as a whole: what to ask next, and at the end what its pages together say.

    reader = PageReader(endpoint, api_key_id="key_...", window_start=..., window_end=...)
    while reader.question is not None:
        reader.take(answer(reader.question))        # over the network, or from the pages that were kept

The same steps are gone through when the read is made, when the ledger takes it in, and when a certificate is checked:
the window and the pages in their order say which page answered which question.

Empty minutes, the rule. The provider lists every minute, the empty ones with `results: []` (docs/openai-usage.md
C.2), so a minute that is not listed is a doubt: the answer may have been cut off. From the first minute that is not
listed the rest of the window is asked again, as one more question of the same read, and so on to the window's end. A
minute counts as empty only by an answer that began exactly there:

- it lists later minutes and not this one: the minutes from its begin to the first one it lists are empty;
- it ends and lists nothing at all: so is all the rest.

What an answer passes over further on is asked again, never believed. A provider that lists no empty minutes costs one
question for each pause; a read of more than `PAGES_MAX` pages is not good.

Pure: no socket, no file, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .clock import US_PER_MINUTE, US_PER_S
from .usage_pages import MINUTE_S, BadRead, Bucket, Problem, UsageEndpoint, UsagePage, UsageRow, read_page

PAGES_MAX = 800
"""Pages of one read, over all its questions; as many digests as fit in one journal line, and two years of minutes at
1440 a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked next. The end of the window, the key and the grouping are the same for every question of a read."""

    start: int
    """Seconds since 1970, a whole minute: `start_time`."""
    cursor: str | None
    """`page`; None for the first page of an answer."""


class PageReader:
    """Takes the pages of one read in order; says what to ask next, and at the end what they hold.

    `window_start` and `window_end` are whole minutes in seconds since 1970, half-open. `api_key_id`: the asked key;
    None: the rows of all keys were asked for.
    """

    def __init__(self, endpoint: UsageEndpoint, *, api_key_id: str | None, window_start: int, window_end: int) -> None:
        if window_start % MINUTE_S or window_end % MINUTE_S or window_end <= window_start:
            raise ValueError(f"{window_start} to {window_end} is not a window of whole minutes")
        self._endpoint = endpoint
        self._api_key_id = api_key_id
        self._end = window_end // MINUTE_S
        self._listed: dict[int, tuple[UsageRow, ...]] = {}
        """Minutes that any answer listed."""
        self._holes = 0
        self._pages = 0
        self._begin_answer(window_start // MINUTE_S)

    def _begin_answer(self, minute: int) -> None:
        self._first = minute
        """The minute in which the answer being read began; every minute before is settled."""
        self._settled = minute
        """The first minute that is neither listed nor known to be empty."""
        self._last: int | None = None
        """The last minute that this answer listed so far."""
        self._cursors: set[str] = set()
        self.question: Question | None = Question(start=minute * MINUTE_S, cursor=None)
        """What to ask next; None: the read is whole."""

    @property
    def rows(self) -> tuple[UsageRow, ...]:
        """Every result row so far, minute by minute."""
        return tuple(row for minute in sorted(self._listed) for row in self._listed[minute])

    @property
    def holes(self) -> int:
        """Minutes that count as empty without a bucket."""
        return self._holes

    def take(self, body: bytes) -> Question | None:
        """Read the answer to `question`; what to ask next, None: the read is whole.

        Raises `BadRead` for anything that a good read cannot hold.
        """
        if self.question is None:
            raise ValueError("the read is whole: nothing was asked")
        self._pages += 1
        page = read_page(body, self._endpoint, api_key_id=self._api_key_id)
        for bucket in page.buckets:
            self._take_bucket(bucket)
        if page.cursor is not None:
            self._go_on(page, page.cursor)
        else:
            self._end_answer()
        return self.question

    def _take_bucket(self, bucket: Bucket) -> None:
        minute, rows = bucket
        if not self._first <= minute < self._end:
            asked = f"{self._first * MINUTE_S} to {self._end * MINUTE_S}"
            raise BadRead(Problem.BUCKET_OUTSIDE, f"A bucket at {minute * MINUTE_S}, asked for was {asked}.")
        if minute == self._last:
            raise BadRead(Problem.BUCKET_REPEATED, f"Two buckets at {minute * MINUTE_S}.")
        if self._last is not None and minute < self._last:
            before = self._last * MINUTE_S
            raise BadRead(Problem.BUCKET_DISORDERED, f"A bucket at {minute * MINUTE_S} after one at {before}.")
        self._pass_over(minute)
        known = self._listed.setdefault(minute, rows)
        if known is not rows and Counter(known) != Counter(rows):
            raise BadRead(Problem.CONTRADICTED, f"Two answers of one read differ on minute {minute}.")
        if self._last is None:
            self._holes += minute - self._first
            self._settled = minute
        if minute == self._settled:
            self._settled += 1
        self._last = minute

    def _pass_over(self, until: int) -> None:
        """This answer lists no minute from its last one to `until`: none of them may have had rows before."""
        for minute in range(self._first if self._last is None else self._last + 1, until):
            if self._listed.get(minute):
                raise BadRead(Problem.CONTRADICTED, f"Minute {minute} has rows in one answer and none in a later one.")

    def _go_on(self, page: UsagePage, cursor: str) -> None:
        if cursor in self._cursors:
            raise BadRead(Problem.CURSOR_REPEATED, f"Page {self._pages} gives a `next_page` that was given before.")
        if self._pages >= PAGES_MAX:
            raise BadRead(Problem.TOO_MANY_PAGES, f"{self._pages} pages, and there is more.")
        self._cursors.add(cursor)
        self.question = Question(start=self._first * MINUTE_S, cursor=cursor)

    def _end_answer(self) -> None:
        if self._last is None:
            self._pass_over(self._end)
            self._holes += self._end - self._first
            self._settled = self._end
        if self._settled == self._end:
            self.question = None
            return
        if self._pages >= PAGES_MAX:
            raise BadRead(Problem.TOO_MANY_HOLES, f"{self._pages} pages, and minute {self._settled} is not listed.")
        self._begin_answer(self._settled)


def check_window(window_start: int, window_end: int, *, asked_at: int) -> None:
    """Raises `BadRead` unless this is a window of whole minutes that had ended when asked for. All in microseconds."""
    if window_start % US_PER_MINUTE or window_end % US_PER_MINUTE or window_end <= window_start:
        raise BadRead(Problem.BAD_WINDOW, f"{window_start} to {window_end} is not a window of whole minutes.")
    if asked_at < window_end:
        raise BadRead(Problem.BAD_WINDOW, "It was asked before its window had ended.")


def replay(
    endpoint: UsageEndpoint,
    *,
    api_key_id: str,
    window_start: int,
    window_end: int,
    asked_at: int,
    pages: Iterable[bytes],
) -> PageReader:
    """What a read says, from its pages in their order; times in microseconds. Raises `BadRead` where it is not good."""
    check_window(window_start, window_end, asked_at=asked_at)
    reader = PageReader(
        endpoint, api_key_id=api_key_id, window_start=window_start // US_PER_S, window_end=window_end // US_PER_S
    )
    for body in pages:
        if reader.question is None:
            raise BadRead(Problem.NOT_KEPT, "It has more pages than it asked for.")
        reader.take(body)
    question = reader.question
    if question is None:
        return reader
    if question.cursor is None and question.start * US_PER_S > window_start:
        raise BadRead(Problem.HOLE_NOT_ASKED, f"No bucket at {question.start}, and nothing was asked from there on.")
    raise BadRead(Problem.NOT_KEPT, "Its pages are not all there.")
