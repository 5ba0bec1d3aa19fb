"""Power lost on a real file system while chunks are stored (faults.md F3): what is there afterwards is right, or a miss.

Nothing is synced when a chunk is stored, so after a cut there are empty files, files without a row and rows without a file.
None of it may be served, and the next start must count and clear what is left of it.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
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
from tests.support.storage import CHUNKS_PER_FILE, VOLUME, content_of, storage_rig, version_of
from tests.support.waiting import SLOW_VARIABLE

#: Cuts for each file system; some hundreds in the long run.
CUTS = int(os.environ.get("FUSE4DBRICKS_CUTS", "500")) if os.environ.get(SLOW_VARIABLE) else 1
#: As many as the process stores in turn.
FILES = 150
LIMITS = DiskLimits(64 * MIB, min_free_bytes=0)


def run_until_cut(disk: CutDisk, chance: random.Random) -> int:
    """Have a process store and evict until the power is cut, at any moment; how many chunk files there were."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.storage", disk.path / "cache"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 80)):
            assert child.stdout.readline()
        if chance.random() < 0.5:
            disk.sync()
            for _ in range(chance.randrange(1, 20)):
                assert child.stdout.readline()
        stored = len(list((disk.path / "cache").rglob("*.chunk")))
        disk.cut(chance.choice((LOG_FLUSHED, LOG_LOST)))
        child.kill()
    disk.unmount()
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
        kept = 0
        for number, index in itertools.product(range(FILES), range(CHUNKS_PER_FILE)):
            path, version = VOLUME.child(f"{number}.bin"), version_of(number)
            found_chunk = await rig.tier.load_chunk(path, version, index)
            if found_chunk is not None:
                assert bytes(found_chunk) == content_of(path, version, index)
                kept += 1
        assert rig.metrics.get("tasks.failed") == 0
        return kept, int(rig.metrics.get("disk.dropped")), seconds


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_no_byte_is_wrong_after_a_cut(tmp_path: Path, kind: str) -> None:
    chance = random.Random(CUTS)
    stored = kept = unusable = 0
    slowest = 0.0
    with cut_disk(tmp_path / "disks", kind) as disk:
        for _ in range(CUTS):
            if chance.random() < 0.3:
                shutil.rmtree(disk.path / "cache", ignore_errors=True)
            stored += await trio.to_thread.run_sync(run_until_cut, disk, chance)
            disk.mount()
            from_disk, dropped, seconds = await read_all(disk)
            kept, unusable, slowest = kept + from_disk, unusable + dropped, max(slowest, seconds)
    assert stored > 0
    print(
        f"{kind}: {CUTS} cuts, {stored} chunks were there, {kept} served after it ({100 * kept // stored} %), "
        f"{unusable} dropped, 0 wrong bytes, slowest start {slowest:.2f} s"
    )
