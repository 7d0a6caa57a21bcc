"""What is to be said where the libraries of the extra `report` are not installed."""

from __future__ import annotations

from ..data.error import SubmeterError

INSTALL = "pipx install --force 'submeter[report]'"
"""Without `--force` pipx leaves a submeter that is there already as it is."""


def without_extra(what: str) -> SubmeterError:
    """The error of a command that needs them."""
    return SubmeterError(
        f"{what} needs the extra `report`.",
        "It brings scipy, altair, vl-convert-python, jinja2 and genai-prices, which metering and auditing do not need.",
        f"Install it with: {INSTALL}",
    )
