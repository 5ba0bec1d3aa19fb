"""Small workloads on a cache folder, each in a process of its own, to be killed at every single system call.

``python -m tests.support.crash_child FOLDER WORKLOAD``; the workloads are the functions in :data:`WORKLOADS`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from fuse4dbricks.app.upkeep import errands
from fuse4dbricks.index.records import Selection
from tests.support.chunkrows import until
from tests.support.indexes import file_entry, post_walk
from tests.support.storage import VOLUME, StorageRig, storage_rig, version_of

FILES = 4


async def fetch_and_evict(folder: Path) -> None:
    """What a mount does: fetch, list, be let in, evict by choice and by size, drop a version, end."""
    async with storage_rig(folder) as rig:
        for number in range(FILES):
            await rig.read_file(number)
        post_walk(rig.index, VOLUME, [[file_entry(f"{number}.bin") for number in range(FILES)]])
        rig.index.grants.post_grant("42", VOLUME, proved_at=1.0, expires_at=2.0)
        assert rig.tier.upkeep is not None
        await rig.tier.upkeep.evict(Selection(under=VOLUME.child("0.bin")), 30.0)
        await rig.tier.upkeep.shrink(rig.index.chunks.get_totals().bytes - 1, 30.0)
        await rig.tier.drop_version(VOLUME.child("1.bin"), version_of(1))
        await rig.read_file(0)


async def start(folder: Path) -> None:
    """A start after whatever happened before: the index is opened, migrated or begun anew, and the folder swept."""
    async with storage_rig(folder) as rig:
        await swept(rig)


async def fix(folder: Path) -> None:
    """``cache check --fix``."""
    found = await errands.look(folder)
    if not found.is_clean:
        await errands.mend(folder, found)


async def rebuild(folder: Path) -> None:
    """``cache rebuild``."""
    await errands.rebuild(folder, lambda _: None)


async def clear(folder: Path) -> None:
    """``cache clear``."""
    await errands.evict(folder, "evict", {})


async def evict(folder: Path) -> None:
    """``cache evict PATH``, then ``cache evict --to-size``."""
    await errands.evict(folder, "evict", {"under": str(VOLUME.child("2.bin"))})
    await errands.evict(folder, "shrink", {"to_bytes": 300_000})


WORKLOADS = {each.__name__: each for each in (fetch_and_evict, start, fix, rebuild, clear, evict)}


async def swept(rig: StorageRig) -> None:
    """Wait until the sweep of the start is over, with all it found."""
    assert rig.tier.upkeep is not None
    stock = rig.tier.upkeep.stock
    await until(lambda: stock.get_progress().finished > 0 and rig.index.is_complete)
    assert stock.get_progress().failure is None


if __name__ == "__main__":
    trio.run(WORKLOADS[sys.argv[2]], Path(sys.argv[1]))
