"""Blocking calls that may never return, made without being held up by them.

The difficulty: a thread that hangs in the kernel (a dead file server) cannot be ended. Its caller can stop waiting, but
the thread stays, and a user who asks again and again would collect them until no thread is left for anybody. So
each key (a local user) has one thread at most, and all keys together a few.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import trio

from fuse4dbricks.auth.source import SourceFailure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_THREADS = 16


class BoundedThreads(Generic[K]):
    """Runs blocking functions with a deadline, one per key."""

    def __init__(self, *, seconds: float, limit: int = MAX_THREADS) -> None:
        self._seconds = seconds
        self._limiter = trio.CapacityLimiter(limit)
        self._busy: set[K] = set()

    async def run(self, key: K, function: Callable[[], V]) -> V:
        """``function()`` in a thread.

        Raises:
            SourceFailure: it takes too long, or an earlier one still does.
            Exception: whatever ``function`` raised.
        """
        if key in self._busy:
            raise SourceFailure("an earlier attempt still hangs", is_outage=True)
        self._busy.add(key)

        def run() -> V:
            try:
                return function()
            finally:
                self._busy.discard(key)  # atomic under the interpreter lock, and seen by the loop at leisure

        try:
            with trio.fail_after(self._seconds):
                return await self._start(key, run)
        except trio.TooSlowError:
            raise SourceFailure(f"no answer in {self._seconds:.0f} s", is_outage=True) from None

    async def _start(self, key: K, run: Callable[[], V]) -> V:
        started = False

        def noting() -> V:
            nonlocal started
            started = True
            return run()

        try:
            return await trio.to_thread.run_sync(noting, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            if not started:
                self._busy.discard(key)  # cancelled while it waited for a thread
