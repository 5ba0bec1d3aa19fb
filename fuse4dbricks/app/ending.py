"""Ends a mount within seconds, however it is told to and whatever is stuck.

The difficulty: SIGINT, SIGTERM and SIGHUP must all unmount, also when they come twice, during a download or while
the cache disk hangs; a signal that is not caught leaves a dead mount behind (faults.md, L1 and weakness 33). So the
first signal cancels what runs now, later ones change nothing, and a watchdog outside the event loop ends the process
when the orderly way takes too long: the kernel then closes the FUSE device and the mount's guard unmounts it.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

logger = logging.getLogger("fuse4dbricks.app")

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds for the orderly end. The promise is 5; the rest is for the kernel and the guard process.
PATIENCE = 4.0


class Ending:
    """The wish to end, and what it ends.

    Attributes:
        wanted: set when a signal came or the mount is being taken down.
    """

    def __init__(self, *, patience: float = PATIENCE, give_up: Callable[[], None] | None = None) -> None:
        self.wanted = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._patience = patience
        self._began_at = math.inf
        self._watchdog = threading.Timer(patience, give_up or _give_up)
        self._watchdog.daemon = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that the wish to end cancels; what comes after it, the teardown, runs undisturbed."""
        with trio.CancelScope() as self._scope:
            if self.wanted.is_set():
                self._scope.cancel()
            yield
        self._scope = None

    def begin(self) -> None:
        """End: cancel the interruptible block and start the watchdog. Again: nothing."""
        if self.wanted.is_set():
            return
        self.wanted.set()
        self._began_at = time.monotonic()
        self._start_watchdog()
        if self._scope is not None:
            self._scope.cancel()

    def get_left(self) -> float:
        """Seconds for what is still to be taken down; all there are as long as there is no wish to end."""
        gone = max(0.0, time.monotonic() - self._began_at)
        return max(0.0, self._patience - gone)

    def done(self) -> None:
        """Everything is taken down: the watchdog is not needed."""
        self._watchdog.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _start_watchdog(self) -> None:
        try:
            self._watchdog.start()
        except RuntimeError:
            # "can't start new thread": the kernel then ends what is stuck, by a SIGALRM that nobody handles.
            signal.setitimer(signal.ITIMER_REAL, self._patience)


@asynccontextmanager
async def ended_by_signals(ending: Ending) -> AsyncIterator[None]:
    """While the block runs, each signal of :data:`END_SIGNALS` begins the ``ending``, and only that."""
    with trio.open_signal_receiver(*END_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, signals, ending)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()


async def _listen(signals: AsyncIterator[int], ending: Ending) -> None:
    async for number in signals:
        if not ending.wanted.is_set():
            logger.info("%s: unmounting", signal.Signals(number).name)
        ending.begin()


def _give_up() -> None:
    logger.warning("the mount did not come down in %.0f s: leaving it to the kernel", PATIENCE)
    os._exit(0)
