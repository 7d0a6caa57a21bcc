"""The one error a user can mend: what happened, why, and what to run next.

Never raised for what can happen in the world by itself (that is data: an outcome, a verdict), nor for our own
mistakes (those raise as they are).
"""

from __future__ import annotations


class SubmeterError(Exception):
    """Three short lines: what went wrong, why, and the next command to run.

    `exit_code` is the status a command ends with: 2 for wrong usage (default), 3 where no answer can be given yet.
    """

    def __init__(self, what: str, why: str, next_step: str, *, exit_code: int = 2) -> None:
        super().__init__(what, why, next_step)
        self.what = what
        self.why = why
        self.next_step = next_step
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.what}\n{self.why}\n{self.next_step}"
