"""When the cache folder is looked through: at the start, after the loss of the index, and when somebody asks.

The difficulty: until every file has been looked at the totals are too small, and more would be stored than the limit
allows; and who asks for it cannot wait in line for minutes. So it is one service that is asked, and tells how far it is.
The index says itself when it was lost: to look for that each second was most of what an idle mount did.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import trio

from fuse4dbricks.cache.storing.eviction import Eviction
from fuse4dbricks.cache.storing.ports import IndexPort
from fuse4dbricks.cache.storing.sweep import PAUSE, Sweep, Tally
from fuse4dbricks.errors import CacheError

logger = logging.getLogger("fuse4dbricks.cache")

#: Seconds until a sweep that failed is tried again.
RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        finished: sweeps that came to an end since the start, well or not.
        failure: why the last one did not come to its end; None: it did.
        tally: of the one that runs, or ran last.
        is_complete: whether the index knows all chunk files.
        chunks: that have a row.
    """

    finished: int
    failure: str | None
    tally: Tally
    is_complete: bool
    chunks: int


class Stocktaking:
    """Sweeps when it is time to."""

    def __init__(self, index: IndexPort, sweep: Sweep, eviction: Eviction) -> None:
        self._index = index
        self._sweep = sweep
        self._eviction = eviction
        self._asked = trio.Event()
        self._epoch = 0
        self._finished = 0
        self._is_running = False
        self._failure: str | None = None

    def ask(self) -> int:
        """Have a sweep from now on; the number that :attr:`Progress.finished` has when it is over."""
        self._asked.set()
        return self._finished + 1 + self._is_running

    def ask_once(self) -> int:
        """As :meth:`ask`, for an index just begun anew, unless the loss of the former one has started a sweep already."""
        if self._is_running and self._epoch == self._index.epoch:
            return self._finished + 1
        return self.ask()

    def get_progress(self) -> Progress:
        """How far it is now."""
        index = self._index
        recorded = index.chunks.get_totals().chunks
        return Progress(self._finished, self._failure, self._sweep.tally, index.is_complete, recorded)

    async def run(self, pause: float = PAUSE, rest: float = 0.0) -> None:
        """Sweep after a ``rest``, and at once whenever there is reason to, until cancelled."""
        self._index.tell_renewed(self._wake)
        if self._index.is_complete:
            with trio.move_on_after(rest):
                await self._asked.wait()
        while True:
            self._asked = trio.Event()
            await self._sweep_once(pause)
            with trio.move_on_after(math.inf if self._index.is_complete and not self._failure else RETRY):
                await self._asked.wait()

    async def run_on_demand(self) -> None:
        """As :meth:`run`, with nobody to make way for, but nothing before somebody asks."""
        await self._asked.wait()
        await self.run(pause=0.0)

    def _wake(self) -> None:
        self._asked.set()

    async def _sweep_once(self, pause: float) -> None:
        self._epoch, self._is_running = self._index.epoch, True
        try:
            await self._sweep.run(pause)
            if not self._index.is_complete:
                await self._index.note_complete(self._epoch)
                self._eviction.ask()
            self._failure = None
        except CacheError as error:
            self._failure = str(error)
            logger.warning("the cache folder was not swept to the end: %s", error)
        finally:
            self._finished += 1
            self._is_running = False
