"""Text made harmless: what a terminal, or a spreadsheet, would take for a command is shown, and not obeyed.

Names of models, runs and requests, paths and errors come from strangers. Nothing here writes.
"""

from __future__ import annotations

import json
import re

_COMMANDS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 (ESC, BEL), DEL, C1 (CSI, OSC)
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # unseen, or turning the line around
    "\U000e0000-\U000e007f]|\r(?!\n)"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """The text with each control character as JSON writes it (`\\u001b`), but for tab and the end of a line.

    What is left is the same JSON document where the text is one.
    """
    return _COMMANDS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def no_formula(text: str) -> str:
    """The text as a cell of a spreadsheet that is none of its formulas: an apostrophe goes in front."""
    return f"'{text}" if text.startswith(_FORMULA) else text
