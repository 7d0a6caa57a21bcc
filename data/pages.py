"""Raw Usage API pages as they lie in the journal's `reads/` folder: `<sha256>.json.gz`, the digest of the bytes inside.

The page is the record of what the provider said. Never here: the network, and what a page says.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from .system import read_file, words

SUFFIX = ".json.gz"


class PageUnusableError(ValueError):
    """A page is missing or damaged."""


def page_name(digest: str) -> str:
    """The name of a page's file."""
    return f"{digest}{SUFFIX}"


def page_body(folder: Path, digest: str) -> bytes:
    """One page as it came. Raises `PageUnusableError` naming the page where it is missing or damaged."""
    if len(digest) != 64 or not digest.isalnum():
        raise PageUnusableError(f"page {digest[:12]!r} has no proper digest")
    try:
        body = gzip.decompress(read_file(folder / page_name(digest)))
    except FileNotFoundError as error:
        raise PageUnusableError(f"page {digest[:12]} is missing from {folder.name}/") from error
    except (EOFError, zlib.error) as error:
        raise PageUnusableError(f"page {digest[:12]} cannot be read: {error}") from error
    except OSError as error:
        raise PageUnusableError(f"page {digest[:12]} cannot be read: {words(error)}") from error
    if hashlib.sha256(body).hexdigest() != digest:
        raise PageUnusableError(f"page {digest[:12]} is not what was read: its digest differs")
    return body
