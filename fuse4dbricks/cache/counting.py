"""Counters that outlive the mount.

The difficulty: what a mount counted is wanted by another process, and after the mount was killed, yet a write for
each count would cost more than what is counted. So the differences are added to the index every few seconds and at
the end; what a kill loses is these few seconds. And writing counts is counted too: a mount that nobody uses must not
write for ever because it has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from fuse4dbricks.concurrency.minutes import next_minute
from fuse4dbricks.telemetry.metrics import Metrics, flat_name

#: Seconds between two writes, and so the age of what ``cache-stats`` shows; each look that finds nothing new doubles
#: them, up to a minute or two, so that an idle mount sleeps.
FLUSH_SECONDS = 5.0
IDLE_FLUSH_SECONDS = 60.0

#: What the writing itself counts.
_OWN = frozenset({"index.commits"})


class CountRows(Protocol):
    """What the index does for the counters."""

    def post_counts(self, deltas: Mapping[str, int]) -> bool:
        """Add to counters; False when there is no room for that now."""
        ...


class CountKeeper:
    """Brings what was counted into the index."""

    def __init__(self, metrics: Metrics, rows: CountRows) -> None:
        self._metrics = metrics
        self._rows = rows
        self._kept: dict[str, int] = {}

    async def run(self) -> None:
        """Keep the counts every few seconds, until cancelled."""
        pause = FLUSH_SECONDS
        while True:
            if pause < IDLE_FLUSH_SECONDS:
                await trio.sleep(pause)
            else:
                await trio.sleep_until(next_minute())
            pause = FLUSH_SECONDS if self.keep() else min(2 * pause, IDLE_FLUSH_SECONDS)

    def keep(self) -> bool:
        """Post what was counted since the last time; what the index has no room for waits for the next.

        Returns:
            Whether there was anything.
        """
        now = {flat_name(name, labels): amount for name, labels, amount in self._metrics}
        deltas = {name: amount - self._kept.get(name, 0) for name, amount in now.items()}
        changed = {name: amount for name, amount in deltas.items() if amount}
        has_news = bool(changed.keys() - _OWN)
        if has_news and self._rows.post_counts(changed):
            self._kept = now
        return has_news
