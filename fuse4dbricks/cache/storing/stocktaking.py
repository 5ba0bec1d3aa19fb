"""When the cache folder is looked through: at the start, after the loss of the index, and when somebody asks.

The difficulty: until every file has been looked at the totals are too small, and more would be stored than the limit
allows; and who asks for it cannot wait in line for minutes. So it is one service that is asked, and tells how far it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import trio

from fuse4dbricks.cache.storing.eviction import Eviction
from fuse4dbricks.cache.storing.ports import IndexPort
from fuse4dbricks.cache.storing.sweep import PAUSE, Sweep, Tally
from fuse4dbricks.errors import CacheError

logger = logging.getLogger("fuse4dbricks.cache")

#: Seconds between looks at whether the index was lost, and until a sweep that failed is tried again.
LOOK_PERIOD = 1.0
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
        self._finished = 0
        self._is_running = False
        self._failure: str | None = None

    def ask(self) -> int:
        """Have a sweep from now on; the number that :attr:`Progress.finished` has when it is over."""
        self._asked.set()
        return self._finished + 1 + self._is_running

    def get_progress(self) -> Progress:
        """How far it is now."""
        index = self._index
        recorded = index.chunks.get_totals().chunks
        return Progress(self._finished, self._failure, self._sweep.tally, index.is_complete, recorded)

    async def run(self, pause: float = PAUSE) -> None:
        """Sweep at once, and whenever there is reason to, until cancelled."""
        while True:
            self._asked = trio.Event()
            await self._sweep_once(pause)
            wait = LOOK_PERIOD if self._failure is None else RETRY
            while not self._asked.is_set():
                with trio.move_on_after(wait):
                    await self._asked.wait()
                if self._failure is not None or not self._index.is_complete:
                    break

    async def run_on_demand(self) -> None:
        """As :meth:`run`, with nobody to make way for, but nothing before somebody asks."""
        await self._asked.wait()
        await self.run(pause=0.0)

    async def _sweep_once(self, pause: float) -> None:
        epoch, self._is_running = self._index.epoch, True
        try:
            await self._sweep.run(pause)
            if not self._index.is_complete:
                await self._index.note_complete(epoch)
                self._eviction.ask()
            self._failure = None
        except CacheError as error:
            self._failure = str(error)
            logger.warning("the cache folder was not swept to the end: %s", error)
        finally:
            self._finished += 1
            self._is_running = False
