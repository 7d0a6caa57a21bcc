"""The audit's words for Usage API pages; the strict reader itself is `data.usage_pages` and `data.usage_reader`.

Reads are judged by that one reader when they are made, when the ledger takes them in and when a certificate is
checked. No rule stands here.
"""

from __future__ import annotations

from ..data.usage_pages import GROUP_BY, BadRead, Problem, UsageEndpoint, UsageRow
from ..data.usage_reader import PAGES_MAX, PageReader, Question

__all__ = ["GROUP_BY", "PAGES_MAX", "BadRead", "PageReader", "Problem", "Question", "UsageEndpoint", "UsageRow"]
