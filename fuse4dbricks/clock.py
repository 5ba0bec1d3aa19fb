"""Time, injected.

Deadlines and TTLs of a running mount use the monotonic clock, so that a clock jump neither expires nor keeps
anything; what is persisted carries wall time, because a monotonic reading means nothing after a reboot.
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
        """``time.monotonic()``."""
        return time.monotonic()

    def wall(self) -> float:
        """``time.time()``."""
        return time.time()
