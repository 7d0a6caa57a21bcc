"""A thread that does one thing again and again until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("submeter.proxy")


def repeating(
    name: str, act: Callable[[], object], *, wait_s: Callable[[], float], stopping: threading.Event
) -> threading.Thread:
    """Such a thread, begun. What fails is tried again at the next turn, as the journal holds everything."""

    def repeat() -> None:
        while not stopping.wait(wait_s()):
            try:
                act()
            except Exception as error:
                logger.warning("%s did not work this time (%s)", name, type(error).__name__)

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    return thread
