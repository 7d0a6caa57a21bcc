"""What worlds are made of: runs, calls as they were in truth, the tokens billed for them, and the names of models.

Time is in minutes by the provider's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

K = 5
SETTLE = 60
INTERVAL = 30
DAY = 24 * 60
BEGIN = 1000.0
SKEW = 0.98
"""Minutes that a clock may be off: just under one."""

Tokens = tuple[int, int, int, int]
"""Input, cached input, output, images."""

ShownMinute = dict[tuple[str, bool], Tokens]
"""What a bill shows of one minute, by model and whether it is batch work."""

Shown = dict[int, ShownMinute]
"""A bill by minute."""

MODELS = ("gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14", "sol-large")
ASKED = {MODELS[0]: "gpt-4o-mini", MODELS[1]: "gpt-4.1", MODELS[2]: "sol"}
"""What programs ask for. The last is a moving name: no rule of names leads from it to the model."""
NEVER_COUNTED = "gpt-4-0613"
NEW_NAME = "house-model-billed"
EMBEDDING = "text-embedding-3-small"
IMAGE = "gpt-image-1"
SPEECH = "gpt-4o-transcribe"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How badly a world may behave. The defaults are what the audit says it can stand."""

    lag: int = SETTLE
    shift: int = K
    skew: float = SKEW
    one_sign: bool = True


@dataclass(slots=True)
class Piece:
    """Tokens in one minute of the bill, and from when on the provider shows them."""

    minute: int
    seen_at: float
    tokens: Tokens


@dataclass(slots=True, kw_only=True)
class Call:
    """One call as it was in truth."""

    key: int
    begin: float
    end: float
    usage_endpoint: str
    model: str
    tokens: Tokens
    run: int | None
    standing: str = "counted"
    """As the meter sees it in the end; `hidden`: it does not."""
    billed: float = 1.0
    """How much of it the provider bills."""
    extra: int = 0
    """Content that a hosted tool read, billed as input beside what the call reports."""
    bill_model: str | None = None
    """Another name it is billed under; None: its own."""
    shown_model: str | None = None
    """Of calls whose answer named no model: what was asked for."""
    told: float = -1.0
    """When a later answer told the usage of background work."""
    silent: bool = False
    loose: bool = False
    batch: bool = False
    any_model: bool = False
    optional: bool = False
    clock: float = 0.0
    end_clock: float = 0.0
    labelled: bool = True
    pieces: list[Piece] = field(default_factory=list)

    def shown_standing(self, now: float) -> str:
        """What the ledger makes of it at some moment."""
        if self.standing == "counted" and (now < self.end or now < self.told):
            return "unknown"
        return self.standing

    def is_open(self, now: float) -> bool:
        return now < self.end or (now < self.told and now < self.begin + DAY)

    def begin_minute(self) -> int:
        return int(self.begin + self.clock)

    def end_minute(self, now: float) -> int:
        """The minute it ended in by the meter's clock; now, while it runs or nobody has told its usage."""
        end = now if now < self.end or now < self.told else self.end
        if now < self.told:
            end = min(now, self.begin + DAY)
        return int(max(end + self.end_clock, self.begin + self.clock))

    def excess(self, now: float) -> bool:
        """Whether the provider bills what the book does not have."""
        nobody_told = self.standing in ("hidden", "unknown") or self.begin + DAY < now < self.told
        return bool(self.pieces) and not self.batch and (nobody_told or self.extra > 0)

    @property
    def deficit(self) -> bool:
        """Whether the book has what no bill will ever show."""
        told = self.told <= self.end + DAY
        return self.standing == "counted" and told and not self.pieces and any(self.tokens)


@dataclass(slots=True, kw_only=True)
class Run:
    """One run and its marks, which another clock may have written."""

    begin: float
    end: float
    clock: float
    skew_known: bool = True
    ambiguous: int = 0
    """Calls that could be of it or of another: its imported marks overlap those of another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One read of one usage endpoint of one key."""

    at: float
    first: int
    end: int
    problem: str | None = None
