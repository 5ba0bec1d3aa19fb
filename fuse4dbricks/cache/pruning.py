"""When the index forgets what nobody has asked about for months.

The difficulty: it is no hurry at all and must be felt by nobody, so it begins long after the start, does a little at a
time and sleeps for a day; and a clock that was set meanwhile must not make every name an old one.
"""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import IndexUnavailable

logger = logging.getLogger("fuse4dbricks.cache")

#: Names are kept for so many seconds after they were last seen, or as long as chunks, if these may grow older.
KEEP = 90 * 86_400.0

#: Seconds from the start to the first time, between two times, and between two steps.
FIRST, PERIOD, REST = 600.0, 86_400.0, 0.1

#: By how many seconds the two clocks may differ over one wait to be believed.
TOLERANCE = 300.0


class PrunedRows(Protocol):
    """The index, as far as this goes."""

    async def prune(self, after: int, before: float, /) -> int | None:
        """Look at the next rows; where to go on, or None at the end. ``IndexUnavailable``."""
        ...


async def run_pruning(index: PrunedRows, clock: Clock, max_age_seconds: float) -> None:
    """Forget what is old, once a day, until cancelled; ``max_age_seconds`` is that of chunks."""
    keep, wait = max(KEEP, max_age_seconds), FIRST
    while True:
        seen = (clock.monotonic(), clock.wall())
        await trio.sleep(wait)
        passed, by_wall = clock.monotonic() - seen[0], clock.wall() - seen[1]
        wait = PERIOD
        if abs(by_wall - passed) > TOLERANCE:
            continue
        try:
            await _prune(index, clock.wall() - keep)
        except IndexUnavailable as error:
            logger.info("the index was not tidied: %s", error)


async def _prune(index: PrunedRows, before: float) -> None:
    after: int | None = 0
    while after is not None:
        after = await index.prune(after, before)
        await trio.sleep(REST)
