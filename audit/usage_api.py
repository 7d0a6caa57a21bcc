"""Asks the organization Usage API; the only httpx of the audit.

    with UsageApi(settings, clock=clock) as client:
        read = client.read(UsageEndpoint.COMPLETIONS, api_key_id="key_...", window_start=..., window_end=...)

A read never raises for what the world does: it is good, or it says its problem in the provider's own words. It is
never a number unless it is good. `bucket_width=1m`, `limit=1440`, whole seconds, `api_key_ids[]` and `group_by[]` in
the bracket form that both official SDKs send (docs/openai-usage.md C.1); start and end stay fixed while paging. What is
asked, and how often, is `data.usage_reader`'s affair: minutes that an answer leaves out are asked for again, as part of
the same read. 429 (its Retry-After honoured), 5xx and broken connections are tried again, a bounded
number of times.

The admin key goes to the configured host alone: redirects are not followed, and proxies and `.netrc` of the
environment are not used (a framework's environment may point them at a meter). It is in no text made here. Where the
machine's roots are not enough, `SSL_CERT_FILE` is honoured.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import orjson

from ..data.clock import US_PER_S, Clock
from ..data.journal import submeter_version
from ..data.masking import masked
from ..data.usage_pages import GROUP_BY, BadRead, Problem, UsageEndpoint, UsageRow
from ..data.usage_reader import PageReader, check_window
from .settings import AuditSettings

if TYPE_CHECKING:
    import httpx

LIMIT = 1440
"""Most minute buckets of one page (docs/openai-usage.md C.1)."""
TRIES_MAX = 5
"""Requests for one page, the first one included."""
BACKOFF_S = (1.0, 2.0, 4.0, 8.0)
WAIT_S_MAX = 120.0
"""A longer Retry-After is not waited for: the read fails and says so."""
PAGE_BYTES_MAX = 64 * 1024 * 1024
TIMEOUT_S = 60.0
"""Of the wall clock, without a byte."""
PAGE_S_MAX = 600.0
"""Of the wall clock, for a page that comes drop by drop."""
CONNECT_TIMEOUT_S = 10.0
MESSAGE_CHARS_MAX = 500
NO_ADMIN_KEY = "No admin key is set: OPENAI_ADMIN_KEY."


Query = list[tuple[str, str | int | float | bool | None]]
"""Names and values in the order sent; a name may come more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRead:
    """One read of one usage endpoint for one key and window. Times are microseconds UTC by the given clock."""

    usage_endpoint: UsageEndpoint
    api_key_id: str
    window_start: int
    window_end: int
    asked_at: int
    answered_at: int
    good: bool
    problem: Problem | None = None
    """None: the read is good."""
    status_code: int | None = None
    """Of the last answer; None: there was none."""
    message: str | None = None
    """The provider's own, else what broke; None of a good read."""
    request_id: str | None = None
    """`x-request-id` of the last answer."""
    pages: tuple[bytes, ...] = ()
    """The bodies that came with 200, in order; those of a bad read are kept as evidence."""
    rows: tuple[UsageRow, ...] = ()
    """Empty unless good."""
    holes: int = 0
    """Minutes of the window that count as empty without a bucket; 0 unless good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status_code: int | None
    body: bytes
    request_id: str | None
    retry_after: str | None
    broke: str | None = None


class UsageApi:
    """A client for one audit. Close it when done."""

    def __init__(
        self,
        settings: AuditSettings,
        *,
        clock: Clock,
        timeout_s: float = TIMEOUT_S,
        page_s_max: float = PAGE_S_MAX,
    ) -> None:
        self._url = settings.usage_api_url
        self._admin_key = settings.admin_key
        self._clock = clock
        self._page_s_max = page_s_max
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"UsageApi({self._url!r})"

    def __enter__(self) -> UsageApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if "_http" in vars(self):
            self._http.close()

    @cached_property
    def _http(self) -> httpx.Client:
        """Made when something is asked: most audits find nothing due, and httpx costs more to import than they do."""
        import httpx

        secure = self._url.startswith("https:")
        return httpx.Client(
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_TIMEOUT_S)),
            headers={"User-Agent": f"submeter/{submeter_version()}", "Accept": "application/json"},
            verify=ssl.create_default_context() if secure else False,  # nothing to verify without TLS
        )

    def read(self, endpoint: UsageEndpoint, *, api_key_id: str, window_start: int, window_end: int) -> UsageRead:
        """Every page of one key's minute buckets in `[window_start, window_end)`, whole minutes in microseconds.

        Good, or with its problem; only a window that is none, or that has not ended, raises (ValueError: our own
        mistake).
        """
        asked_at = self._clock.now_us()
        try:
            check_window(window_start, window_end, asked_at=asked_at)
        except BadRead as wrong:
            raise ValueError(wrong.message) from None
        if not self._admin_key:
            return UsageRead(
                usage_endpoint=endpoint,
                api_key_id=api_key_id,
                window_start=window_start,
                window_end=window_end,
                asked_at=asked_at,
                answered_at=asked_at,
                good=False,
                problem=Problem.NOT_PERMITTED,
                message=NO_ADMIN_KEY,
            )
        reader = PageReader(
            endpoint, api_key_id=api_key_id, window_start=window_start // US_PER_S, window_end=window_end // US_PER_S
        )
        filters: Query = [("api_key_ids[]", api_key_id)]
        pages, answer, bad = self._ask_all(reader, endpoint, window_end, filters, GROUP_BY[endpoint])
        return UsageRead(
            usage_endpoint=endpoint,
            api_key_id=api_key_id,
            window_start=window_start,
            window_end=window_end,
            asked_at=asked_at,
            answered_at=self._clock.now_us(),
            good=bad is None,
            problem=bad.problem if bad else None,
            status_code=answer.status_code,
            message=self._without_key(bad.message) if bad else None,
            request_id=self._without_key(answer.request_id) if answer.request_id else None,
            pages=tuple(pages),
            rows=() if bad else reader.rows,
            holes=0 if bad else reader.holes,
        )

    def read_all_keys(self, endpoint: UsageEndpoint, *, window_start: int, window_end: int) -> tuple[UsageRow, ...]:
        """The rows of all keys in a window of whole minutes in microseconds, by key and model alone; nothing is kept.

        Raises `BadRead` where they cannot be read whole.
        """
        check_window(window_start, window_end, asked_at=self._clock.now_us())
        if not self._admin_key:
            raise BadRead(Problem.NOT_PERMITTED, NO_ADMIN_KEY)
        reader = PageReader(
            endpoint, api_key_id=None, window_start=window_start // US_PER_S, window_end=window_end // US_PER_S
        )
        _, _, bad = self._ask_all(reader, endpoint, window_end, [], ("api_key_id", "model"))
        if bad is not None:
            raise BadRead(bad.problem, self._without_key(bad.message))
        return reader.rows

    def _ask_all(
        self, reader: PageReader, endpoint: UsageEndpoint, window_end: int, filters: Query, group_by: tuple[str, ...]
    ) -> tuple[list[bytes], _Answer, BadRead | None]:
        """Ask until the reader has all of it: the pages that came with 200, the last answer, and what was bad."""
        pages: list[bytes] = []
        answer = _Answer(status_code=None, body=b"", request_id=None, retry_after=None)
        while (question := reader.question) is not None:
            query: Query = [
                ("start_time", question.start),
                ("end_time", window_end // US_PER_S),
                ("bucket_width", "1m"),
                ("limit", LIMIT),
                *filters,
                *(("group_by[]", dimension) for dimension in group_by),
                *([("page", question.cursor)] if question.cursor is not None else []),
            ]
            answer = self._page(f"/organization/usage/{endpoint}", query)
            try:
                if answer.status_code != 200 or answer.broke:
                    raise self._refusal(answer)
                pages.append(answer.body)
                reader.take(answer.body)
            except BadRead as bad:
                return pages, answer, bad
        return pages, answer, None

    def get(self, path: str, query: Query) -> bytes:
        """The body of one page of the organization's API, such as `/organization/projects`.

        Raises `BadRead` where it does not come with 200, as above after all tries.
        """
        if not self._admin_key:
            raise BadRead(Problem.NOT_PERMITTED, NO_ADMIN_KEY)
        answer = self._page(path, query)
        if answer.status_code != 200 or answer.broke:
            refusal = self._refusal(answer)
            raise BadRead(refusal.problem, self._without_key(refusal.message))
        return answer.body

    def _page(self, path: str, query: Query) -> _Answer:
        """One page's answer: the first that another try could not better, or the last."""
        answer = self._ask(path, query)
        for backoff_s in BACKOFF_S[: TRIES_MAX - 1]:
            if not _worth_another_try(answer):
                break
            wait_s = self._retry_after_s(answer.retry_after)
            if wait_s is not None and wait_s > WAIT_S_MAX:
                break
            self._clock.sleep(backoff_s if wait_s is None else wait_s)
            answer = self._ask(path, query)
        return answer

    def _ask(self, path: str, query: Query) -> _Answer:
        import httpx

        status_code: int | None = None
        request_id = retry_after = None
        body = bytearray()
        until_s = time.monotonic() + self._page_s_max
        try:
            with self._http.stream(
                "GET",
                f"{self._url}{path}",
                params=httpx.QueryParams(query),
                headers={"Authorization": f"Bearer {self._admin_key}"},
            ) as response:
                status_code = response.status_code
                request_id = response.headers.get("x-request-id")
                retry_after = response.headers.get("retry-after")
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > PAGE_BYTES_MAX:
                        raise httpx.DecodingError(f"a page of more than {PAGE_BYTES_MAX} bytes")
                    if time.monotonic() > until_s:
                        raise httpx.ReadTimeout(f"a page that took more than {self._page_s_max:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            broke = f"{type(error).__name__}: {error}"
            return _Answer(
                status_code=status_code, body=b"", request_id=request_id, retry_after=retry_after, broke=broke
            )
        return _Answer(status_code=status_code, body=bytes(body), request_id=request_id, retry_after=retry_after)

    def _retry_after_s(self, text: str | None) -> float | None:
        """Seconds to wait as the provider asks, by `Retry-After` in seconds or as a date; None: it does not say."""
        if text is None:
            return None
        text = text.strip()
        if text.isascii() and text.isdigit():
            return float(text[:12])
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, at.timestamp() - self._clock.now_us() / US_PER_S)

    def _refusal(self, answer: _Answer) -> BadRead:
        if answer.broke:
            return BadRead(Problem.UNAVAILABLE, answer.broke)
        said = _provider_message(answer.body) or f"HTTP {answer.status_code} without a message."
        if answer.status_code in (401, 403):
            return BadRead(Problem.NOT_PERMITTED, said)
        wait_s = self._retry_after_s(answer.retry_after)
        if wait_s is not None and wait_s > WAIT_S_MAX:
            said = f"{said} It asks to wait {wait_s:.0f} s, longer than is waited for."
        return BadRead(Problem.UNAVAILABLE, said)

    def _without_key(self, text: str) -> str:
        """The provider's words without our key, or another's: a gateway may quote whatever key it was shown."""
        whole = text.replace(self._admin_key, "[admin key]") if self._admin_key else text
        return masked(whole)[:MESSAGE_CHARS_MAX]


def _worth_another_try(answer: _Answer) -> bool:
    if answer.broke:
        return True
    return answer.status_code in (408, 429) or (answer.status_code is not None and answer.status_code >= 500)


def _provider_message(body: bytes) -> str | None:
    """The `error.message` of an error body (docs/openai-usage.md C.5); None where there is none."""
    try:
        error = orjson.loads(body)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    return message if isinstance(message, str) and message else None
