"""Time, injected.

Deadlines and TTLs of a running mount use the monotonic clock, so that a clock jump neither expires nor keeps
anything; what is persisted carries wall time, because a monotonic reading means nothing after a reboot. Time asleep
counts: a grant that was good when the lid was closed is not good next morning.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks. Production is :class:`SystemClock`; tests step one by hand."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def wall(self) -> float:
        """Unix time in seconds; may jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """``CLOCK_BOOTTIME``: ``time.monotonic()`` stands still while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """``time.time()``."""
        return time.time()
