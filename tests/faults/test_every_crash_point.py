"""Killed at every single system call that writes (faults.md F1): a start alone puts all in order, and no byte is wrong.

Each workload runs once for each of its calls and is killed as that call is about to happen. Then the cache is opened as a mount
does; that, without anybody's help, must leave no unfinished file, no file without a row and no row without a file.
All points take a quarter of an hour and are run by hand; a few that differ are in the suite.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from fuse4dbricks.app.upkeep.inspection import inspect
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.index.migrations import newest_version
from tests.support.crash_child import FILES, WORKLOADS, swept
from tests.support.indexes import outside
from tests.support.older_index import make_older
from tests.support.storage import CHUNKS_PER_FILE, storage_rig
from tests.support.strace import needs_strace, run_killed
from tests.support.waiting import slow

pytestmark = needs_strace

#: All calls by which the cache changes a file or a folder, as strace has named them.
CALLS = (
    "pwrite64",
    "writev",
    "linkat",
    "renameat",
    "rename",
    "unlinkat",
    "unlink",
    "fdatasync",
    "fsync",
    "ftruncate",
)

#: Seconds in which a cache is open and swept; the promise for a mount is 2.
START = 10.0


# --- scenes --------------------------------------------------------------------------------------


async def nothing(cache: Path) -> None:
    """No cache yet."""


async def filled(cache: Path) -> None:
    async with storage_rig(cache) as rig:
        for number in range(FILES):
            await rig.read_file(number)


async def without_index(cache: Path) -> None:
    await filled(cache)
    (cache / "index.sqlite").unlink()


async def with_damaged_index(cache: Path) -> None:
    await filled(cache)
    with (cache / "index.sqlite").open("r+b") as stream:
        stream.write(bytes(100))


def chunk_files(cache: Path) -> list[Path]:
    return list(cache.rglob("*.chunk"))


async def out_of_order(cache: Path) -> None:
    """A file without a row, a row without a file, an unfinished file, totals that do not agree."""
    await filled(cache)
    first, second, *_ = sorted(chunk_files(cache))
    db = outside(cache, write=True)
    db.execute("DELETE FROM chunk WHERE name = ?", (bytes.fromhex(first.stem),))
    db.close()
    second.unlink()
    (cache / "tmp" / f"{'0' * 16}-1.tmp").write_bytes(b"half")


Scene = Callable[[Path], Awaitable[None]]


def older(version: int) -> Scene:
    """An index of an earlier program, to be migrated from each version that there was."""

    async def make(cache: Path) -> None:
        await filled(cache)
        make_older(cache / "index.sqlite", version)

    make.__name__ = f"index_of_version_{version}"
    return make


SCENES: list[tuple[Scene, str]] = [
    (nothing, "fetch_and_evict"),
    (without_index, "start"),
    (with_damaged_index, "start"),
    (out_of_order, "fix"),
    (filled, "rebuild"),
    (filled, "clear"),
    (filled, "evict"),
    *((older(version), "start") for version in range(1, newest_version())),
]

#: Of each scene some points that differ: in the schema, between file and row, between row and unlink, at the end.
SAMPLE: list[tuple[Scene, str, str, int]] = [
    (nothing, "fetch_and_evict", "pwrite64", 60),
    (nothing, "fetch_and_evict", "linkat", 5),
    (nothing, "fetch_and_evict", "unlinkat", 2),
    (nothing, "fetch_and_evict", "ftruncate", 1),
    (without_index, "start", "pwrite64", 130),
    (with_damaged_index, "start", "rename", 1),
    (out_of_order, "fix", "unlinkat", 1),
    (filled, "clear", "unlinkat", 5),
    (older(1), "start", "pwrite64", 3),
]


def named(value: object) -> str | None:
    return getattr(value, "__name__", None)


# --- a crash, and what is left of it -------------------------------------------------------------


async def recover(cache: Path, workload: str) -> float:
    """Open what a crash has left, as a mount does, and look at it; seconds until it was swept."""
    if workload == "fix":
        await WORKLOADS["fix"](cache)  # what was wrong before the crash takes what it took then
    began = time.monotonic()
    async with storage_rig(cache) as rig:
        await swept(rig)
        seconds = time.monotonic() - began
    with CacheFolder.open(cache, exclusive=False) as folder:
        found = inspect(folder, is_mounted=False)
    assert found.is_clean, found
    async with storage_rig(cache) as rig:
        for number in range(FILES):
            await rig.read_file(number)  # compares every byte
        assert rig.from_disk + rig.from_workspace == FILES * CHUNKS_PER_FILE
        assert rig.metrics.get("disk.dropped") == 0
    return seconds


async def crash(scene: Path, cache: Path, workload: str, call: str, when: int) -> float | None:
    """Have a copy of the scene killed at one point; seconds until it was in order again, None: there is no such point."""
    with suppress(FileNotFoundError):
        shutil.copytree(scene, cache)
    killed = await trio.to_thread.run_sync(
        run_killed, call, when, "tests.support.crash_child", cache, workload
    )
    if not killed:
        return None
    seconds = await recover(cache, workload)
    shutil.rmtree(cache)
    return seconds


@pytest.mark.parametrize(("make", "workload", "call", "when"), SAMPLE, ids=named)
async def test_a_crash_leaves_what_a_start_puts_in_order(
    tmp_path: Path, make: Scene, workload: str, call: str, when: int
) -> None:
    scene = tmp_path / "scene"
    await make(scene)
    seconds = await crash(scene, tmp_path / "cache", workload, call, when)
    assert seconds is not None, f"{workload} has no {when}th {call}"
    assert seconds < START


@pytest.mark.timeout(7200)
@pytest.mark.slow
@slow[1]
@pytest.mark.parametrize(("make", "workload"), SCENES, ids=named)
async def test_every_crash_leaves_what_a_start_puts_in_order(
    tmp_path: Path, make: Scene, workload: str
) -> None:
    scene = tmp_path / "scene"
    await make(scene)
    points: dict[str, int] = {}
    slowest = 0.0
    for call in CALLS:
        for when in itertools.count(1):
            seconds = await crash(scene, tmp_path / "cache", workload, call, when)
            if seconds is None:
                break
            points[call], slowest = when, max(slowest, seconds)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert sum(points.values()) > 10
    assert slowest < START
    print(f"{named(make)}, {workload}: killed at {points}; in order again after {slowest:.2f} s at most")
