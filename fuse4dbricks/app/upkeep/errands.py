"""What a person asks of a cache, in terms of inspections and orders.

The difficulty: an order is done in pieces, a sweep in the background, and a repair is several of both. Here each wish is
one function that comes back when it is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from fuse4dbricks.app.upkeep.attendance import Give, ask, attended, is_mounted
from fuse4dbricks.app.upkeep.fields import path_from
from fuse4dbricks.app.upkeep.inspection import Inspection, Verification, inspect, verify
from fuse4dbricks.app.upkeep.orders import MAX_NAMES
from fuse4dbricks.app.upkeep.unattended import find_pins, recorded_pins, unpin_alone
from fuse4dbricks.app.upkeep.wire import Answer, OrderRefused
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.errors import CacheError, CacheFolderError

T = TypeVar("T")

#: Seconds between looks at how far a sweep is.
POLL = 0.2

#: Findings that new totals are enough for.
COUNTED = {"totals"}


@dataclass(frozen=True, slots=True)
class Freed:
    """What is gone.

    Attributes:
        chunks, bytes: of disk space.
    """

    chunks: int = 0
    bytes: int = 0


def run(errand: Callable[[], Awaitable[T]]) -> T:
    """Run an errand from a command.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """

    async def explained() -> T:
        try:
            return await errand()
        except CacheError as error:
            raise CacheFolderError(f"the cache folder cannot be used: {error}") from error

    return trio.run(explained)


async def look(path: Path) -> Inspection:
    """Inspect the folder and change nothing.

    Raises:
        CacheFolderError: it cannot be used.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        mounted = await is_mounted(folder)
        return await trio.to_thread.run_sync(lambda: inspect(folder, is_mounted=mounted))


async def mend(path: Path, found: Inspection) -> None:
    """Put right what an inspection found.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """
    kinds = {finding.kind for finding in found.report.findings}
    async with attended(path) as give:
        if kinds - COUNTED:
            await _wait_for_sweep(give, await give("renew", {}))
            return
        if kinds:
            await give("count", {})
        await _drop(give, found.report.rows_without_file)
        if found.report.files_without_row or found.leftovers:
            await _wait_for_sweep(give, await give("sweep", {}))


async def read_all(path: Path, on_progress: Callable[[int, int], None]) -> Verification:
    """Verify every chunk.

    Raises:
        CacheFolderError: the folder cannot be used.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        return await trio.to_thread.run_sync(lambda: verify(folder, on_progress), abandon_on_cancel=True)


async def drop(path: Path, names: Sequence[bytes]) -> None:
    """Delete chunks that are no good.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """
    async with attended(path) as give:
        await _drop(give, names)
        await _wait_for_sweep(give, await give("sweep", {}))


async def evict(
    path: Path,
    order: str,
    arguments: dict[str, object],
    on_progress: Callable[[Answer], None] = lambda _: None,
) -> Freed:
    """Have an ``evict`` or ``shrink`` order done to its end.

    What a new index does not know of yet would stay, so until it knows all chunk files it is waited for, and
    ``on_progress`` is told how far it is.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """
    async with attended(path) as give:
        if not (await give("progress", {})).get("complete", True):
            await _wait_for_sweep(give, await give("sweep", {}), on_progress)
        return await _repeat(give, order, arguments)


async def describe(path: Path) -> Answer | None:
    """What the mount in the folder shows; None where there is none (or no cache folder yet).

    Raises:
        OrderRefused: there is one that does not say.
    """
    try:
        with CacheFolder.open(path, exclusive=False) as folder:
            return await ask(folder.fd, {"order": "shown"}) if await is_mounted(folder) else None
    except CacheFolderError:
        return None  # what is wrong with the folder is told by whatever needs it


async def list_pins(path: Path) -> Answer:
    """All pins; how each is, too, where a mount keeps them.

    Raises:
        CacheFolderError, OrderRefused: it cannot be said.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        if await is_mounted(folder):
            return await ask(folder.fd, {"order": "pins"})
        return await trio.to_thread.run_sync(recorded_pins, folder)


async def unpin(path: Path, pinned: str) -> bool:
    """End a pin; whether there was one.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        if await is_mounted(folder):
            return bool((await ask(folder.fd, {"order": "unpin", "path": pinned}))["ended"])
        recorded = await trio.to_thread.run_sync(find_pins, folder, path_from(pinned))
    ended = False
    for host, spelling in recorded:
        ended = await unpin_alone(path, host, spelling) or ended
    return ended


async def rebuild(path: Path, on_progress: Callable[[Answer], None]) -> Answer:
    """Make the index anew from the chunk files; how that went.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done.
    """
    async with attended(path) as give:
        return await _wait_for_sweep(give, await give("renew", {}), on_progress)


async def _repeat(give: Give, order: str, arguments: dict[str, object]) -> Freed:
    freed = Freed()
    while True:
        answer = await give(order, arguments)
        freed = Freed(freed.chunks + answer["chunks"], freed.bytes + answer["bytes"])
        if not answer["more"]:
            return freed


async def _drop(give: Give, names: Sequence[bytes]) -> None:
    for start in range(0, len(names), MAX_NAMES):
        await _repeat(give, "evict", {"names": [name.hex() for name in names[start : start + MAX_NAMES]]})


async def _wait_for_sweep(
    give: Give, asked: Answer, on_progress: Callable[[Answer], None] = lambda _: None
) -> Answer:
    while True:
        progress = await give("progress", {})
        on_progress(progress)
        if progress["finished"] >= asked["ticket"]:
            if progress["failure"] is not None:
                raise OrderRefused(f"the cache folder could not be swept: {progress['failure']}")
            return progress
        await trio.sleep(POLL)
