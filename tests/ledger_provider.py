"""The Usage API of many worlds at once: real pages of JSON over a transport in memory, from the worlds' own books.

It fails, sends away, cuts answers off and repeats cursors where a world says so, and notes what it was asked.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from ledger_lines import BASE, Scribe
from ledger_process import MINUTE_US
from referee_calls import Asked
from referee_moment import ENDPOINTS, pages

from submeter.data.clock import FixedClock


@dataclass(kw_only=True)
class Provider:
    """Answers for every key of these worlds; a key that is nobody's was never billed anything."""

    scribes: Mapping[int, Scribe]
    """By their number, which their key ids carry: `key_<number>_<key>`."""
    clock: FixedClock
    moment: int = 0
    """Number of the audit that asks."""
    steady: bool = False
    """Whether every answer is whole now."""
    asked: dict[tuple[int, int, str], list[Asked]] = field(default_factory=lambda: defaultdict(list))

    def now(self, scribe: Scribe) -> float:
        """The moment by a world's own count of minutes."""
        return self.clock.now_us() / MINUTE_US - BASE - scribe.later

    def answer(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        endpoint = request.url.path.rsplit("/", 1)[-1]
        start, end = int(query["start_time"]) // 60, int(query["end_time"]) // 60
        cursor = query.get("page")
        _, number, key = query["api_key_ids[]"].split("_")
        if not number.isdigit():
            return self._page(endpoint, query["api_key_ids[]"], start, end, {}, 1440)
        scribe = self.scribes[int(number)]
        world, now = scribe.world, self.now(scribe)
        later = BASE + scribe.later
        shown = world.shown(int(key), endpoint, now)
        rng = random.Random(f"{world.seed} {self.moment} {key} {endpoint}")
        failed = not self.steady and rng.random() < world.failing
        notes = self.asked[int(number), int(key), endpoint]
        if failed and cursor is None:
            problem = rng.choice(("not_permitted", "unavailable", "not_json", "cursor_repeated"))
            notes.append(Asked(at=now, first=start - later, end=end - later, problem=problem))
            match problem:
                case "not_permitted":
                    return httpx.Response(403, json={"error": {"message": "You may not read usage."}})
                case "unavailable":
                    return httpx.Response(404, json={"error": {"message": "There is no such page."}})
                case "not_json":
                    return httpx.Response(200, content=b"<html>busy</html>")
        if failed and problem_of(notes) == "cursor_repeated":
            page = b'{"object":"page","data":[],"has_more":true,"next_page":"page_again"}'
            return httpx.Response(200, content=page)
        if cursor is not None:
            start = int(cursor.removeprefix("page_"))
        else:
            notes.append(Asked(at=now, first=start - later, end=end - later))
        size = rng.choice((7, 40, 1440, 1440, 1440, 1440))
        cut = end
        if not self.steady and rng.random() < 0.05 and end - start > 20:
            cut = start + rng.randint(1, 19)  # an answer that is cut off says that there is no more
        bill = {minute + later: rows for minute, rows in shown.items() if start <= minute + later < cut}
        return self._page(endpoint, query["api_key_ids[]"], start, cut, bill, size)

    def _page(self, endpoint: str, key: str, start: int, end: int, bill: object, size: int) -> httpx.Response:
        return httpx.Response(200, content=next(pages(endpoint, key, start, end, bill, size=size)))  # type: ignore[arg-type]


def problem_of(notes: list[Asked]) -> str | None:
    return notes[-1].problem if notes else None


def asked_of(provider: Provider, number: int, key: int) -> list[list[Asked]]:
    """What was asked of one key so far, by usage endpoint."""
    return [provider.asked[number, key, endpoint] for endpoint in ENDPOINTS]
