"""Calls that queue up for a limiter, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from fuse4dbricks.workspace.limits import CallLimiter, Lane, Lease, Ticket


class Queue:
    """Starts calls in a nursery and notes the order in which they are admitted."""

    def __init__(self, limiter: CallLimiter, nursery: trio.Nursery) -> None:
        self.limiter = limiter
        self.nursery = nursery
        self.order: list[str] = []
        self.times: list[float] = []
        self.leases: dict[str, Lease] = {}

    async def join(
        self, name: str, lane: Lane = Lane.METADATA, ticket: Ticket | None = None, party: str = ""
    ) -> trio.CancelScope:
        """Queue up as ``name`` and settle."""
        scope = trio.CancelScope()
        self.nursery.start_soon(self._call, name, lane, ticket or Ticket(), party, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _call(self, name: str, lane: Lane, ticket: Ticket, party: str, scope: trio.CancelScope) -> None:
        with scope:
            self.leases[name] = await self.limiter.acquire(ticket, lane, party)
            self.order.append(name)
            self.times.append(trio.current_time())

    async def leave(self, name: str) -> None:
        self.limiter.release(self.leases.pop(name))
        await trio.testing.wait_all_tasks_blocked()


Test = Callable[[Queue], Awaitable[None]]


async def with_queue(test: Test, *, in_flight: int = 10, data: int = 8, per_second: int = 1000) -> None:
    async with trio.open_nursery() as nursery:
        await test(Queue(CallLimiter(in_flight=in_flight, data=data, per_second=per_second), nursery))
        nursery.cancel_scope.cancel()
