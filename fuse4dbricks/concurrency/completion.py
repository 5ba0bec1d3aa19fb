"""Work of two steps of which the second belongs to the first, whoever is cancelled between them.

The difficulty: a mount that ends cancels its services wherever they wait, also where rows are gone and their files are
not yet. That is no damage, but what an orderly end leaves behind is found as litter at the next start. A shield alone
would hold the end up for as long as a disk hangs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def run_to_end(work: Callable[[], Awaitable[T]], *, within: float) -> T:
    """``await work()``; once cancelled, it has ``within`` seconds more for its end, before the cancellation goes on.

    Raises:
        Exception: what ``work`` raises.
    """
    shield, ended = trio.CancelScope(shield=True), trio.Event()
    results: list[T] = []
    failures: list[Exception] = []

    async def run() -> None:
        with shield:
            try:
                results.append(await work())
            except Exception as failure:  # noqa: BLE001 - it is not swallowed: the caller raises it
                failures.append(failure)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            await ended.wait()
        finally:
            shield.deadline = trio.current_time() + within
    if failures:
        raise failures[0]
    return results[0]
