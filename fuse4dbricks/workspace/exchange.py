"""What one request asks and what one reply still holds.

The difficulty: a reply occupies a connection and a slot of the limiter until its body has ended, and whoever holds
it may be cancelled at any await. So the two travel together in a :class:`Reply`, and leaving it gives back both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
import trio

from fuse4dbricks.workspace.body import Body
from fuse4dbricks.workspace.limits import CallLimiter, Lane, Lease

logger = logging.getLogger("fuse4dbricks.workspace")


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked, without who asks.

    Attributes:
        kind: for the metrics.
        lane: what the limiter counts it as.
        method: GET, HEAD or POST.
        path: percent-encoded, from ``/api`` on.
        query: not yet encoded.
        headers: beyond the usual ones.
    """

    kind: str
    lane: Lane
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """For messages; without the query, whose tokens mean nothing to people, and not too long."""
        return f"{self.method} {self.path}" if len(self.path) <= 200 else f"{self.method} {self.path[:200]}…"


class Reply:
    """A reply whose body is still to be read. Leaving it gives connection and slot back.

    Attributes:
        status: HTTP status.
        headers: case-insensitive.
        body: what is still to come.
        observed_at: Unix time by the server's clock if that is sane, else ours.
        limiter: that admitted the call.
        lease: the call's slot in it.
    """

    __slots__ = ("body", "headers", "lease", "limiter", "observed_at", "status")

    def __init__(
        self, response: httpx.Response, body: Body, observed_at: float, limiter: CallLimiter, lease: Lease
    ) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.body = body
        self.observed_at = observed_at
        self.limiter = limiter
        self.lease = lease

    async def aclose(self) -> None:
        """Close or return the connection, then give the slot back; never waits for the server."""
        try:
            await self.body.aclose()
        finally:
            self.limiter.release(self.lease)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def log_reply(what: str, status: int, began: float, span: str | None) -> None:
    """For who debugs: a call that began at trio's time ``began`` has its reply; ``span`` is its Range header."""
    if logger.isEnabledFor(logging.DEBUG):
        milliseconds = 1000 * (trio.current_time() - began)
        logger.debug("%s: %d after %.0f ms%s", what, status, milliseconds, f", {span}" if span else "")
