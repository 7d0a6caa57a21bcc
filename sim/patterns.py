"""A text that a regular expression accepts, made from the expression.

Covers what JSON schemas use in practice: literals, escapes, classes, groups, alternatives, repetition and anchors.
What it cannot read it says so of; whoever asks checks the text against the expression itself.
"""

from __future__ import annotations

import re
import string
from random import Random

from .unsatisfiable import Unsatisfiable

REPEATED_MAX = 3
"""How often an open repetition (`*`, `+`, `{2,}`) goes past its least number, at most."""
PIECES_MAX = 50_000
"""Pieces of a text; a pattern that wants more is refused."""
PRINTABLE = string.ascii_letters + string.digits + " _-.,:;/@#"
CLASSES = {
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_",
    "s": " ",
    "D": string.ascii_letters,
    "W": " -.",
    "S": string.ascii_letters + string.digits,
}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


def matching(pattern: str, rng: Random) -> str:
    """A text in which `re.search` finds the pattern."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as problem:
        raise Unsatisfiable(f"the pattern {pattern!r} cannot be read: {problem}") from problem
    for _ in range(20):
        text = _Reader(pattern, rng).whole()
        if compiled.search(text):
            return text
    raise Unsatisfiable(f"no text was found for the pattern {pattern!r}")


class _Reader:
    """Reads a pattern from left to right and writes a text as it goes."""

    def __init__(self, pattern: str, rng: Random) -> None:
        self.pattern = pattern
        self.rng = rng
        self.at = 0
        self.pieces = 0

    def whole(self) -> str:
        text = self._alternatives()
        if self.at < len(self.pattern):
            raise self._strange()
        return text

    def _alternatives(self) -> str:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return self.rng.choice(branches)

    def _sequence(self) -> str:
        parts: list[str] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            start = self.at
            text = self._atom()
            after = self.at
            least, most = self._repetition()
            end = self.at
            times = self.rng.randint(least, min(most, least + REPEATED_MAX))
            for turn in range(times):
                # Each turn reads the atom anew, so that `[a-z]+` is not one letter repeated.
                if turn:
                    self.at = start
                    text = self._atom()
                    self.at = after
                parts.append(text)
                self.pieces += 1
                if self.pieces > PIECES_MAX:
                    raise Unsatisfiable(f"the pattern {self.pattern!r} wants more than {PIECES_MAX} characters")
            self.at = end
        return "".join(parts)

    def _atom(self) -> str:
        letter = self._next()
        match letter:
            case "(":
                if self._take("?"):
                    if self._take("P<") or (self.pattern[self.at : self.at + 1] == "<" and self._named()):
                        self.at = self.pattern.index(">", self.at) + 1
                    elif not self._take(":"):
                        raise self._strange()
                text = self._alternatives()
                if not self._take(")"):
                    raise self._strange()
                return text
            case "[":
                return self._class()
            case ".":
                return self.rng.choice(string.ascii_lowercase)
            case "^" | "$":
                return ""
            case "\\":
                return self._escape()
        if letter in "*+?":
            raise self._strange()
        return letter

    def _named(self) -> bool:
        return self.pattern[self.at + 1 : self.at + 2] not in ("=", "!")

    def _repetition(self) -> tuple[int, int]:
        least, most = 1, 1
        found = re.compile(r"\{(\d+)(,?)(\d*)\}").match(self.pattern, self.at)
        if found is not None:
            self.at = found.end()
            least = int(found[1])
            most = least if not found[2] else int(found[3]) if found[3] else least + REPEATED_MAX
        elif self._take("*"):
            least, most = 0, REPEATED_MAX
        elif self._take("+"):
            least, most = 1, 1 + REPEATED_MAX
        elif self._take("?"):
            least, most = 0, 1
        else:
            return 1, 1
        if not self._take("?"):
            self._take("+")
        return least, most

    def _escape(self) -> str:
        letter = self._next()
        if letter in CLASSES:
            return self.rng.choice(CLASSES[letter])
        if letter in "bBAZ":
            return ""
        if letter in "xu":
            return self._coded(letter)
        if letter in CONTROLS:
            return CONTROLS[letter]
        if letter.isalnum():
            raise self._strange()
        return letter

    def _coded(self, letter: str) -> str:
        width = 2 if letter == "x" else 4
        digits = self.pattern[self.at : self.at + width]
        self.at += width
        try:
            return chr(int(digits, 16))
        except ValueError:
            raise self._strange() from None

    def _class(self) -> str:
        refused = self._take("^")
        members: set[str] = set()
        first = True
        while first or self.pattern[self.at : self.at + 1] != "]":
            first = False
            letter = self._next()
            if letter == "\\":
                ahead = self.pattern[self.at : self.at + 1]
                if ahead in CLASSES:
                    self.at += 1
                    members.update(CLASSES[ahead])
                    continue
                letter = "\b" if self._take("b") else self._escape()
            if self.pattern[self.at : self.at + 1] == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last = self._next()
                last = self._escape() if last == "\\" else last
                members.update(chr(code) for code in range(ord(letter), min(ord(last), ord(letter) + 255) + 1))
            else:
                members.add(letter)
        self.at += 1
        chosen = [one for one in PRINTABLE if one not in members] if refused else sorted(members)
        if not chosen:
            raise self._strange()
        return self.rng.choice(chosen)

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise self._strange()
        self.at += 1
        return self.pattern[self.at - 1]

    def _take(self, text: str) -> bool:
        if not self.pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _strange(self) -> Unsatisfiable:
        return Unsatisfiable(f"the simulator does not know a part of the pattern {self.pattern!r}")
