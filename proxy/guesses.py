"""Wrong tokens, counted for each address: whoever guesses is not answered for the rest of a minute. Pure.

Twenty guesses a minute take a year for five letters. This machine's own programs are never shut out, as they could
read the token where the proxy has it from.
"""

from __future__ import annotations

import ipaddress

from ..data.clock import US_PER_MINUTE, Clock

WRONG_A_MINUTE_MAX = 20
ADDRESSES_MAX = 10_000
"""Addresses remembered at once; whoever has more of them than that has better ways in."""


class Guesses:
    """The wrong tokens of the minute."""

    def __init__(self, clock: Clock, workers: int = 1) -> None:
        """`workers`: how many processes count guesses for one listener, each its own; all of them hear no more than
        one would."""
        self._clock = clock
        self._wrong_max = max(1, WRONG_A_MINUTE_MAX // workers)
        self._minute = 0
        self._wrong: dict[str, int] = {}

    def note(self, address: str) -> None:
        """A wrong token came from this address; none at all is no guess."""
        self._turn()
        if not _is_here(address) and (address in self._wrong or len(self._wrong) < ADDRESSES_MAX):
            self._wrong[address] = self._wrong.get(address, 0) + 1

    def shut(self, address: str) -> bool:
        """Whether this address has guessed too often in this minute."""
        self._turn()
        return self._wrong.get(address, 0) >= self._wrong_max

    def _turn(self) -> None:
        minute = self._clock.now_us() // US_PER_MINUTE
        if minute != self._minute:
            self._minute = minute
            self._wrong.clear()


def _is_here(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A listener on `::` names a client of IPv4 as an address of IPv6, of which Python asks this only from 3.13 on.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
