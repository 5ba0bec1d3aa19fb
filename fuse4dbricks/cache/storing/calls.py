"""Blocking calls on the cache folder, in few threads, each under a deadline.

The difficulty: a hanging disk (a lost iSCSI target, a dying USB stick) keeps a thread inside the kernel for minutes, and
nothing can end that. So the thread is abandoned: its caller goes on without, and the first one who had to wait
that long sets all others free. The thread keeps its place in the limiter until it is back, so hanging calls never use
up more than their few threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from fuse4dbricks.cache.storing.breaker import Breaker
from fuse4dbricks.cache.storing.ports import is_full
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.telemetry.metrics import Metrics

T = TypeVar("T")


class DiskCalls:
    """Runs calls for one purpose.

    Args:
        operation: for the metrics: read, write, remove.
        threads: how many at once.
        deadline: seconds for a call, its wait for a thread included.
        breaker: who says whether to call at all; None: always.
    """

    def __init__(
        self, operation: str, *, threads: int, deadline: float, breaker: Breaker | None, metrics: Metrics
    ) -> None:
        self._operation = operation
        self._limiter = trio.CapacityLimiter(threads)
        self._deadline = deadline
        self._breaker = breaker
        self._metrics = metrics
        self._waiting: set[trio.CancelScope] = set()

    async def run(self, call: Callable[[], T]) -> T:
        """``call()`` in a thread.

        Raises:
            ChunkUnusable: the call did; the disk is fine.
            CacheError: the disk failed, did not answer in time, or is being left alone.
        """
        if self._breaker is not None and not self._breaker.allows():
            raise CacheError("the cache folder is left alone for now")
        with trio.CancelScope(deadline=trio.current_time() + self._deadline) as scope:
            self._waiting.add(scope)
            try:
                return await self._run_counted(call)
            finally:
                self._waiting.discard(scope)
        if trio.current_time() < scope.deadline:
            raise CacheError("the cache folder was given up while this waited for it")
        error = CacheError(f"the cache folder's disk did not answer within {self._deadline:.0f} s")
        self._note_failure(error, at_once=True)
        raise error

    async def _run_counted(self, call: Callable[[], T]) -> T:
        try:
            result = await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        except ChunkUnusable:
            self._note_success()
            raise
        except CacheError as error:
            self._note_failure(error, at_once=is_full(error))
            raise
        except (MemoryError, RuntimeError) as error:
            # No memory for the buffer, or "can't start new thread": the reader is better off without us.
            failure = CacheError(f"no resources for the cache folder: {error}")
            self._note_failure(failure, at_once=False)
            raise failure from error
        self._note_success()
        return result

    def _note_success(self) -> None:
        if self._breaker is not None:
            self._breaker.succeeded()

    def _note_failure(self, error: CacheError, *, at_once: bool) -> None:
        self._metrics.count("disk.errors", operation=self._operation)
        if self._breaker is None:
            return
        self._breaker.failed(str(error), at_once=at_once)
        if at_once and not is_full(error):
            for scope in self._waiting:
                scope.cancel()
