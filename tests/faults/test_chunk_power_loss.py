"""Power lost on a real file system while chunks are stored (faults.md F3): what is there afterwards is right, or a miss.

Nothing is synced when a chunk is stored, so after a cut there are empty files, files without a row and rows without a file.
None of it may be served, and the next start must count and clear what is left of it.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import trio

from fuse4dbricks.app.upkeep.inspection import inspect
from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.units import MIB
from tests.support.crash_child import swept
from tests.support.cut_disks import LOG_FLUSHED, LOG_LOST, CutDisk, cut_disk
from tests.support.storage import CHUNKS_PER_FILE, storage_rig
from tests.support.waiting import SLOW_VARIABLE

#: Cuts for each file system; some hundreds in the long run.
CUTS = int(os.environ.get("FUSE4DBRICKS_CUTS", "500")) if os.environ.get(SLOW_VARIABLE) else 1
FILES = 12
LIMITS = DiskLimits(5 * MIB, min_free_bytes=0)


async def run_until_cut(disk: CutDisk, chance: random.Random) -> set[str]:
    """Start as after the cut before, read at random, and lose the power; which chunk files there were."""
    async with storage_rig(disk.path / "cache", limits=LIMITS, drain=0.0) as rig:
        for _ in range(chance.randrange(1, FILES)):
            await rig.read_file(chance.randrange(FILES))
        if chance.random() < 0.6:
            await trio.run_process(["sync", "-f", disk.path])
            await rig.read_file(chance.randrange(FILES))
        stored = {file.name for file in rig.stored()}
        disk.cut(chance.choice((LOG_FLUSHED, LOG_LOST)))
        for number in range(3):
            await rig.read_file(number)  # with a dead disk below, the reader still gets right bytes
    return stored


async def read_all(disk: CutDisk) -> tuple[int, int, float]:
    """After the power is back: chunks served from disk, those found unusable, and seconds for the start."""
    began = time.monotonic()
    async with storage_rig(disk.path / "cache", limits=LIMITS) as rig:
        await swept(rig)
        seconds = time.monotonic() - began
        with CacheFolder.open(disk.path / "cache", exclusive=False) as folder:
            found = inspect(folder, is_mounted=True)
        assert found.is_clean, found
        for number in range(FILES):
            await rig.read_file(number)  # compares every byte
        assert rig.metrics.get("tasks.failed") == 0
        return rig.from_disk, int(rig.metrics.get("disk.dropped")), seconds


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_no_byte_is_wrong_after_a_cut(tmp_path: Path, kind: str) -> None:
    chance = random.Random(CUTS)
    stored = kept = unusable = 0
    slowest = 0.0
    with cut_disk(tmp_path / "disks", kind) as disk:
        for _ in range(CUTS):
            there = await run_until_cut(disk, chance)
            disk.unmount()
            disk.mount()
            left = {file.name for file in (disk.path / "cache").rglob("*.chunk")}
            from_disk, dropped, seconds = await read_all(disk)
            stored, kept, unusable = stored + len(there), kept + from_disk, unusable + dropped
            slowest = max(slowest, seconds)
            assert from_disk <= FILES * CHUNKS_PER_FILE
            assert left or not from_disk
        disk.unmount()
    assert stored > 0
    print(
        f"{kind}: {CUTS} cuts, {stored} chunks were there, {kept} served after it ({100 * kept // stored} %), "
        f"{unusable} dropped, 0 wrong bytes, slowest start {slowest:.2f} s"
    )
