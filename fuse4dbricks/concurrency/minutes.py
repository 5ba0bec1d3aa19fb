"""When services look that have nothing to do.

The difficulty: each of them sleeps for a minute, and together they wake the machine several times a minute, each at
a second of its own. So they all wake at the same one.
"""

from __future__ import annotations

import trio

MINUTE = 60.0


def next_minute() -> float:
    """The second of trio's clock at which whoever has nothing to do looks again: in a minute, give or take a half."""
    return ((trio.current_time() + MINUTE / 2) // MINUTE + 1) * MINUTE
