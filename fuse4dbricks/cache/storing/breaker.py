"""Leaving a sick disk alone, and finding out when it is well again.

The difficulty: each call on a dying disk costs its deadline, and each failure a log line; readers must pay neither
more than once. And nobody will tell when the disk is back: somebody has to try, but one at a time.
"""

from __future__ import annotations

import logging

from fuse4dbricks.clock import Clock
from fuse4dbricks.units import format_seconds

logger = logging.getLogger("fuse4dbricks.cache")

#: A single EIO may be one bad sector; three in a row are the disk.
FAILURES = 3

#: Seconds until the next try; doubles with each try that fails.
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0


class Breaker:
    """Whether to use the disk for one purpose (reading, writing) now. For the loop only.

    Attributes:
        is_closed: the disk is in use.
    """

    def __init__(self, purpose: str, clock: Clock) -> None:
        self.is_closed = True
        self._purpose = purpose
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._retry_at = 0.0
        self._is_trying = False

    @property
    def is_due(self) -> bool:
        """Whether :meth:`allows` would say yes; asking here is no try."""
        return self.is_closed or self._clock.monotonic() >= self._retry_at

    def allows(self) -> bool:
        """Whether the caller may use the disk; while it is open, one caller per pause may try."""
        if self.is_closed:
            return True
        if not self.is_due:
            return False
        self._retry_at = self._clock.monotonic() + self._pause
        self._is_trying = True
        return True

    def succeeded(self) -> None:
        """The disk did what it was asked."""
        self._failures = 0
        if not self.is_closed:
            self.is_closed = True
            self._pause = FIRST_PAUSE
            logger.info("the cache folder works again for %s", self._purpose)

    def failed(self, why: str, *, at_once: bool = False) -> None:
        """The disk failed; ``at_once`` where there is no point in waiting for it to happen again."""
        self._failures += 1
        if self.is_closed:
            if at_once or self._failures >= FAILURES:
                self._open(why)
        elif self._is_trying:
            # Not for those who were under way already when it opened: ten of them would make the pause a minute.
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._is_trying = False
            self._retry_at = self._clock.monotonic() + self._pause

    def _open(self, why: str) -> None:
        self.is_closed = self._is_trying = False
        self._retry_at = self._clock.monotonic() + self._pause
        logger.warning(
            "the cache folder is not used for %s for now (next try in %s); the mount goes on without: %s",
            self._purpose,
            format_seconds(self._pause),
            why,
            extra={"rate_limit": 60},
        )

    def retry_now(self) -> None:
        """What made it fail may be over: the next caller may try."""
        self._retry_at = self._clock.monotonic()
