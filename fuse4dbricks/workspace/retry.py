"""When to ask again, and when to stop.

The difficulty: a reader in the kernel cannot be killed while it waits (faults.md fact 4), so nothing the service
says may make us wait past the budget: ``Retry-After: 3600`` obeyed literally once froze programs for an hour. One
:class:`Budget` per remote call bounds attempts *and* time; what it cannot wait for it reports at once.

An attempt that another one may mend raises :class:`Setback`, which carries the error that the caller gets if no
attempt succeeds. Anything else an attempt raises is final.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from fuse4dbricks.errors import DeadlineExceeded, RemoteError, Unreachable
from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.workspace")

T = TypeVar("T")

#: Our own back-off doubles from :attr:`Patience.first_pause` up to this, in seconds.
LONGEST_PAUSE = 4.0
#: A retry that would leave less than this for the attempt itself is not worth the wait.
LAST_TRY = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one remote call may take, in seconds. A FUSE request is bounded at 30, so all of it at 25.

    Attributes:
        connect: to a TCP connection, and again to a TLS session.
        response: from asking to the reply's headers, connecting included.
        stall: of a body that brings nothing.
        total: of a call with all its queueing, attempts and pauses; for a streamed body, of the time without
            progress.
        min_rate: bytes per second that a body must bring on average; a slow-loris server stays under it.
        first_pause: before the second attempt, where the service does not say how long.
    """

    connect: float = 10.0
    response: float = 20.0
    stall: float = 10.0
    total: float = 25.0
    min_rate: int = 1024
    first_pause: float = 0.1


class Setback(Exception):
    """One attempt failed in a way that another may mend.

    Attributes:
        error: what the caller gets when there is no other attempt.
        reason: one word for the metrics.
        tries: attempts in all that such a failure deserves.
        retry_after: seconds the service asked to wait, or None.
    """

    def __init__(
        self, error: RemoteError, *, reason: str, tries: int, retry_after: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.reason = reason
        self.tries = tries
        self.retry_after = retry_after


class Budget:
    """Attempts and time of one remote call.

    Attributes:
        deadline: on trio's clock; everything done for the call ends by then.
    """

    def __init__(self, patience: Patience, metrics: Metrics) -> None:
        self.patience = patience
        self._metrics = metrics
        self._failures = 0
        self._last: Setback | None = None
        self.deadline = trio.current_time() + patience.total

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.deadline - trio.current_time())

    def renew(self) -> None:
        """Start afresh, because there was real progress."""
        self._failures = 0
        self._last = None
        self.deadline = trio.current_time() + self.patience.total

    async def back_off(self, setback: Setback) -> None:
        """Sleep until the next attempt is due.

        Raises:
            RemoteError: the attempts or the time are used up, or would be by then.
        """
        self._failures += 1
        pause = self._pause_after(setback)
        if self._failures >= setback.tries or self.remaining < pause + LAST_TRY:
            error = self._final_error(setback)
            self._metrics.count("remote.gave_up", error=type(error).__name__)
            raise error
        self._last = setback
        self._metrics.count("remote.retries", reason=setback.reason)
        logger.debug("again in %.2f s: %s", pause, setback.error)
        await trio.sleep(pause)

    def _pause_after(self, setback: Setback) -> float:
        own = min(LONGEST_PAUSE, self.patience.first_pause * 2.0 ** (self._failures - 1))
        # Jitter keeps those who failed together from coming back together.
        jittered = own * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        if setback.retry_after is None:
            return jittered
        return setback.retry_after + min(jittered, max(0.0, self.remaining - setback.retry_after - LAST_TRY))

    def _final_error(self, setback: Setback) -> RemoteError:
        # Attempts that never reached the service and then ran out of time are an unreachable service.
        out_of_time = type(setback.error) is DeadlineExceeded
        if out_of_time and self._last is not None and isinstance(self._last.error, Unreachable):
            return self._last.error
        return setback.error


async def persist(budget: Budget, attempt: Callable[[], Awaitable[T]]) -> T:
    """Call ``attempt`` until it succeeds, fails for good, or ``budget`` is spent.

    Raises:
        RemoteError: what ``attempt`` raised for good, or the error of its last setback.
    """
    while True:
        try:
            return await attempt()
        except Setback as failure:
            setback = failure
        # Outside the except block: the final error must not drag the failed request along as its context.
        await budget.back_off(setback)
