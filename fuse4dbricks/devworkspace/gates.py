"""Limits of the whole service: calls at a time, calls per second.

The difficulty: the real Files API backend answers 429 beyond about 10 concurrent requests and 100 per second, and a
client that never met that works in every test and fails on the first busy day. The gates see all Files API calls
together, whoever makes them.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from fuse4dbricks.devworkspace.effects import Status
from fuse4dbricks.devworkspace.faults import ActiveFault, Exchange, Proceed

#: The limits of the backend that the Databricks CLI states.
BACKEND_CONCURRENCY = 10
BACKEND_PER_SECOND = 100

#: Kinds that go to the Files API backend: match a gate with it.
FILES_API_KINDS = "fs.*"


def _too_many(retry_after: str | None) -> Status:
    return Status(
        status=429, error_code="REQUEST_LIMIT_EXCEEDED", message="Too many requests.", retry_after=retry_after
    )


@dataclass(slots=True, eq=False)
class ConcurrencyGate:
    """429 to what comes while ``limit`` calls are being answered."""

    limit: int = BACKEND_CONCURRENCY
    retry_after: str | None = None
    in_flight: int = 0
    refused: int = 0

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Count in, proceed, count out."""
        if self.in_flight >= self.limit:
            self.refused += 1
            await _too_many(self.retry_after).play(exchange, proceed, active)
            return
        self.in_flight += 1
        try:
            await proceed(exchange)
        finally:
            self.in_flight -= 1


@dataclass(slots=True, eq=False)
class QpsGate:
    """429 to what goes beyond ``per_second`` calls in any second."""

    per_second: int = BACKEND_PER_SECOND
    retry_after: str | None = "1"
    refused: int = 0
    _times: deque[float] = field(default_factory=deque, repr=False)

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Let through what fits into the last second."""
        now = time.monotonic()
        while self._times and self._times[0] <= now - 1:
            self._times.popleft()
        if len(self._times) >= self.per_second:
            self.refused += 1
            await _too_many(self.retry_after).play(exchange, proceed, active)
            return
        self._times.append(now)
        await proceed(exchange)
