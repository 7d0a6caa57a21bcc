"""What the simulator says of a schema for which it finds no value. Nothing else is here."""

from __future__ import annotations


class Unsatisfiable(ValueError):  # noqa: N818 - the schema is at fault, not the simulator
    """No value was found; the message is the reason, for a refusal."""
