"""The real clock, which may be set forward and back at any time, and what is said of it when it is behind.

There are two times, both microseconds since the Unix epoch. The one that orders (`Draft.now`) never goes back:
it is when a write happened. The one that expires (`Draft.wall`, `Store.wall_time`) is the real clock's: until
when something works, and whether that is over.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from usermeta_server.model import SECOND

log = logging.getLogger(__name__)

Clock = Callable[[], int]
"""Returns the real time in microseconds since the Unix epoch."""

TOLERANCE: Final = 60 * SECOND
"""How far clocks may differ, in microseconds; what is from further in the future was made by one that was wrong."""

_LOOKS: Final = 60
"""After how many looks that find the clock behind it is said again."""


def wall_clock() -> int:
    """Return the real time of this machine."""
    return time.time_ns() // 1000


class ClockWatch:
    """Says when the clock is behind the newest change, now and then while it is, and when it has caught up."""

    def __init__(self, behind: Callable[[], int]) -> None:
        """Take what tells by how much it is behind, in microseconds."""
        self._behind = behind
        self._looks = 0

    def look(self) -> None:
        """Look at the clock, and say in the log what is new about it."""
        behind = self._behind()
        if behind > TOLERANCE:
            if self._looks % _LOOKS == 0:
                log.warning(
                    "the clock is %d seconds behind the newest change: times of changes stand still until it has "
                    "caught up; what expires goes by the clock",
                    behind // SECOND,
                )
            self._looks += 1
        elif self._looks:
            self._looks = 0
            log.info("the clock has caught up with the newest change")
