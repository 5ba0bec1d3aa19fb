"""The size limit at each moment, as ``du`` sees the whole folder with index and log, whoever reads what meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import trio

from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.units import MIB
from tests.support.storage import CHUNK, CHUNKS_PER_FILE, VOLUME, storage_rig, version_of

READERS, FILES_EACH = 32, 4


def disk_usage(folder: str) -> int:
    """What ``du -s`` says."""
    used = os.lstat(folder).st_blocks * 512
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                used += disk_usage(entry.path) if entry.is_dir() else entry.stat().st_blocks * 512
            except FileNotFoundError:  # evicted while we look
                continue
    return used


class Watch:
    """Looks at a folder all the time, in a thread."""

    def __init__(self, folder: Path) -> None:
        self.highest = self.looks = 0
        self._folder = str(folder)
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.is_set():
            self.highest = max(self.highest, disk_usage(self._folder))
            self.looks += 1

    def stop(self) -> None:
        self._is_over.set()


@pytest.mark.parametrize("limit", [3 * MIB, 6 * MIB])
async def test_32_readers_of_a_small_cache_never_see_it_over_its_limit_nor_a_wrong_byte(
    tmp_path: Path, limit: int
) -> None:
    """Half of the files are read by two at once, half of them are held open while they are evicted and fetched."""
    async with storage_rig(tmp_path / "cache", limits=DiskLimits(limit, min_free_bytes=0)) as rig:
        watch = Watch(rig.folder.path)

        async def reader(turn: int) -> None:
            for number in range(FILES_EACH):
                file = (turn // 2) * FILES_EACH + number
                path, version = VOLUME.child(f"{file}.bin"), version_of(file)
                if file % 2:
                    rig.tier.hold(path, version)
                await rig.read_file(file)
                await rig.read_file(file)
                if file % 2:
                    rig.tier.release(path, version)

        async with trio.open_nursery() as watching:
            watching.start_soon(trio.to_thread.run_sync, watch.run)
            async with trio.open_nursery() as nursery:
                for turn in range(READERS):
                    nursery.start_soon(reader, turn)
            watch.stop()
        evicted = rig.metrics.get("disk.evicted", reason="size")
        print(
            f"{watch.highest - limit:+} bytes, {watch.looks} looks, {evicted} evicted, {rig.from_disk} from disk"
        )
        assert watch.looks > 20
        assert rig.from_disk + rig.from_workspace == READERS * FILES_EACH * CHUNKS_PER_FILE * 2
        assert evicted > 0
        assert 0.5 * limit < watch.highest <= limit


async def test_a_cache_smaller_than_one_file_serves_it_all_the_same(tmp_path: Path) -> None:
    async with storage_rig(tmp_path / "cache", limits=DiskLimits(4 * CHUNK, min_free_bytes=0)) as rig:
        for number in range(5):
            await rig.read_file(number)
        assert rig.from_workspace == 5 * CHUNKS_PER_FILE
        assert rig.stored() == []
