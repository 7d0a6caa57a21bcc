"""`.env`: variables named by a file in the working directory, where the environment does not name them.

The one place that reads such a file. Values are secrets: none is ever part of an error.
"""

from __future__ import annotations

import io
from pathlib import Path

from dotenv import dotenv_values

from .error import SubmeterError
from .system import NoFileError, read_file, words

BYTES_MAX = 1024 * 1024


def read_env_file(path: Path | None) -> dict[str, str]:
    """What the file names; nothing where there is none. Raises `SubmeterError` where it cannot be read as UTF-8."""
    if path is None:
        return {}
    try:
        data = read_file(path, BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError, NoFileError):
        return {}
    except OSError as error:
        raise SubmeterError(
            f"The environment file cannot be read: {path}",
            f"The system says: {words(error)}.",
            "Mend it, or work in another folder; keys may also stand in the environment.",
        ) from error
    if len(data) > BYTES_MAX:
        raise SubmeterError(
            f"The environment file is too large: {path}",
            f"It has more than {BYTES_MAX // 1024} KiB, so a value could be read in part.",
            "Name keys in a file of their own, or in the environment.",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SubmeterError(
            f"The environment file is not UTF-8: {path}",
            f"Line {line} holds a byte that no UTF-8 text has there, so no key is taken from it.",
            f"Write it as UTF-8, such as: iconv -f latin1 -t utf-8 {path} > utf8.env && mv utf8.env {path}",
        ) from error
    return {
        name: value
        for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items()
        if value is not None
    }
