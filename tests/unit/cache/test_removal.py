"""Who may write a chunk while others remove it."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.removal import Removals
from fuse4dbricks.chunks import CacheFolder, ChunkName, ChunkStore
from fuse4dbricks.telemetry.metrics import Metrics

ONE, OTHER = ChunkName(bytes(16)), ChunkName(bytes(15) + b"1")


async def test_a_writer_waits_for_the_last_of_all_who_remove_its_name(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        calls = DiskCalls("remove", threads=1, deadline=10.0, breaker=None, metrics=Metrics())
        removals = Removals(ChunkStore(folder), calls)
        order: list[str] = []
        sweep_ends, reader_ends = trio.Event(), trio.Event()

        async def claim(name: str, end: trio.Event, chunks: list[ChunkName]) -> None:
            with removals.claiming(chunks):
                await end.wait()
                order.append(name)

        async def write(name: ChunkName) -> None:
            await removals.wait_for(name)
            order.append("write")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, "sweep", sweep_ends, [ONE, OTHER])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(claim, "reader", reader_ends, [ONE])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(write, ONE)
            await trio.testing.wait_all_tasks_blocked()
            sweep_ends.set()
            await trio.testing.wait_all_tasks_blocked()
            await removals.wait_for(OTHER)
            reader_ends.set()
        assert order == ["sweep", "reader", "write"]
