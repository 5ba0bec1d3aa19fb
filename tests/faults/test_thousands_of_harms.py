"""Chunk files harmed in every way, thousands of times (faults.md F7): each is noticed, none is served, all heal.

What is exchanged or put back is whole and sound, only of another chunk, another version or another time: that tells
whether a file is bound to what it is said to be.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.storage import (
    CHUNKS_PER_FILE,
    VOLUME,
    StorageRig,
    content_of,
    storage_rig,
    version_of,
)
from tests.support.waiting import SLOW_VARIABLE

FILES = 15
CHUNKS = FILES * CHUNKS_PER_FILE
HARMS = 10_000 if os.environ.get(SLOW_VARIABLE) else 150


def harm(file: Path, other: Path, old: Path, chance: random.Random) -> str:
    """Do one of them; which."""
    kind = chance.choice(["flip", "cut", "extend", "swap", "restore"])
    size = file.stat().st_size
    if kind == "flip":
        with file.open("r+b") as stream:
            stream.seek(chance.randrange(size))
            (byte,) = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte ^ 1 << chance.randrange(8)]))
    elif kind == "cut":
        os.truncate(file, chance.randrange(size))
    elif kind == "extend":
        with file.open("ab") as stream:
            stream.write(chance.randbytes(chance.randrange(1, 5000)))
    elif kind == "swap":
        aside = file.with_name("aside")
        file.rename(aside)
        other.rename(file)
        aside.rename(other)
    else:
        shutil.copyfile(old, file)
    return kind


async def read_all(rig: StorageRig) -> int:
    """Every chunk, each byte compared; how many the disk could not give."""
    before = rig.from_workspace
    for number in range(FILES):
        await rig.read_file(number)
    return rig.from_workspace - before


async def store_old_versions(cache: Path) -> list[Path]:
    """Chunk files of another version of the same files, as a restored backup has them."""
    async with storage_rig(cache) as rig:
        for number in range(FILES):
            for index in range(CHUNKS_PER_FILE):
                old = version_of(number + 1000)
                payload = content_of(VOLUME.child(f"{number}.bin"), old, index)
                assert rig.tier.publish(
                    VOLUME.child(f"{number}.bin"), old, index, payload, "42", lambda: None
                )
        await rig.tier.aclose(10.0)
        return rig.stored()


@pytest.mark.timeout(3600)
async def test_each_is_noticed_none_is_served_all_heal(tmp_path: Path) -> None:
    chance = random.Random(HARMS)
    old = await store_old_versions(tmp_path / "old")
    assert len(old) == CHUNKS
    done: Counter[str] = Counter()
    while done.total() < HARMS:
        # Each time another process, as far as the marks of verified chunks go, but for every third.
        async with storage_rig(tmp_path / "cache") as rig:
            for _ in range(3):
                await read_all(rig)
                assert await read_all(rig) == 0
                files = rig.stored()
                assert len(files) == CHUNKS
                chance.shuffle(files)
                harmed = 0
                for file, other in zip(files[::2], files[1::2], strict=True):
                    kind = harm(file, other, chance.choice(old), chance)
                    done[kind] += 1
                    harmed += 2 if kind == "swap" else 1
                dropped = rig.metrics.get("disk.dropped")
                assert await read_all(rig) == harmed
                assert rig.metrics.get("disk.dropped") - dropped == harmed
            assert await read_all(rig) == 0
    print(f"harmed {done.total()} times, all noticed and healed: {dict(done)}")
