"""Service tasks that cannot end the mount.

The difficulty: in trio an exception in a background task cancels its whole nursery, and the nursery of a mount
holds the FUSE loop: one failed download once ended the service for every user of the program this one learned
from. So service tasks start through a :class:`Supervisor`, which logs and counts what they raise and lets
nothing out but cancellation.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple

import trio

from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.tasks")

Args = TypeVarTuple("Args")

#: Pause before a service that failed is started again; doubles up to the second figure, and starts anew when
#: the service had run for longer than that.
RESTART_PAUSE = 1.0
RESTART_PAUSE_MAX = 60.0


def split_cancelled(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of ``error`` is trio's cancellation, which must go on, and what is a failure."""
    if isinstance(error, trio.Cancelled):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return None, error


class Supervisor:
    """Starts tasks in one nursery and absorbs their exceptions.

    Attributes:
        nursery: where the tasks live; cancelled as a whole when the mount ends.
    """

    def __init__(self, nursery: trio.Nursery, metrics: Metrics) -> None:
        self.nursery = nursery
        self._metrics = metrics

    @property
    def is_open(self) -> bool:
        """Whether tasks can still be started and will still run."""
        return not self.nursery.cancel_scope.cancel_called

    def start_soon(self, name: str, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Run ``task(*args)`` once in the background under ``name``."""
        self.nursery.start_soon(self._absorb, name, task, args, name=name)

    def run_forever(self, name: str, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Run ``task(*args)`` and start it again, after a growing pause, whenever it raises."""
        self.nursery.start_soon(self._repeat, name, task, args, name=name)

    async def _absorb(
        self, name: str, task: Callable[[*Args], Awaitable[object]], args: tuple[*Args]
    ) -> bool:
        try:
            await task(*args)
        except trio.Cancelled:
            raise
        except BaseException as error:  # a service task's failure ends here: the mount lives on
            cancelled, failed = split_cancelled(error)
            if failed is not None:
                self._metrics.count("tasks.failed", task=name)
                logger.exception(
                    "the background task %s failed", name, exc_info=failed, extra={"rate_limit": 60}
                )
            if cancelled is not None:
                raise cancelled from None
            return False
        return True

    async def _repeat(
        self, name: str, task: Callable[[*Args], Awaitable[object]], args: tuple[*Args]
    ) -> None:
        pause, started_at = RESTART_PAUSE, trio.current_time()
        while not await self._absorb(name, task, args):
            if trio.current_time() - started_at > RESTART_PAUSE_MAX:
                pause = RESTART_PAUSE
            await trio.sleep(pause)
            pause, started_at = min(2 * pause, RESTART_PAUSE_MAX), trio.current_time()


@asynccontextmanager
async def supervised(metrics: Metrics) -> AsyncIterator[Supervisor]:
    """A :class:`Supervisor` whose tasks are cancelled when the block ends."""
    async with trio.open_nursery() as nursery:
        try:
            yield Supervisor(nursery, metrics)
        finally:
            nursery.cancel_scope.cancel()
