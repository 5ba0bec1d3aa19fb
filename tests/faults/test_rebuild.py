"""The loss of the index costs nothing but time: the chunk files say what they are (faults.md F8).

The index is harmed in every way that the list names, and each time every chunk is read from the disk afterwards, at its
right bytes, none is fetched again, and no file is left that the index does not know.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.index.checks import check
from fuse4dbricks.units import MIB
from tests.support.chunkrows import until
from tests.support.mounts import mounted
from tests.support.storage import CHUNKS_PER_FILE, StorageRig, storage_rig
from tests.support.trees import FIRST_MTIME
from tests.support.waiting import wait_for
from tests.support.workspace import Served

FILES = 12
CHUNKS = FILES * CHUNKS_PER_FILE


async def fill(cache: Path) -> None:
    async with storage_rig(cache) as rig:
        for number in range(FILES):
            await rig.read_file(number)
        assert len(rig.stored()) == CHUNKS


async def read_all(rig: StorageRig) -> tuple[int, int]:
    """How many chunks came from disk, how many from the workspace."""
    rig.from_disk = rig.from_workspace = 0
    for number in range(FILES):
        await rig.read_file(number)
    return rig.from_disk, rig.from_workspace


def assert_in_order(cache: Path) -> None:
    names = [bytes.fromhex(file.stem) for file in cache.rglob("*.chunk")]
    report = check(cache / "index.sqlite", names)
    assert report.is_clean, report
    assert not list((cache / "tmp").iterdir())


# --- harm ----------------------------------------------------------------------------------------


def delete_all(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_to_nothing(file: Path) -> None:
    os.truncate(file, 0)


def zero_the_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(bytes(100))


def overwrite_with_noise(file: Path) -> None:
    file.write_bytes(random.Random(5).randbytes(file.stat().st_size))


def become_anothers(file: Path) -> None:
    delete_all(file)
    db = apsw.Connection(str(file))
    db.execute("CREATE TABLE theirs (a)")
    db.close()


def scramble_pages(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 200] = random.Random(page).randbytes(200)
    file.write_bytes(content)


HARMS = [
    delete_all, cut_in_half, cut_to_nothing, zero_the_header, overwrite_with_noise, become_anothers, scramble_pages,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
async def test_a_start_without_a_usable_index_finds_every_chunk_again(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    cache = tmp_path / "cache"
    await fill(cache)
    harm(cache / "index.sqlite")
    async with storage_rig(cache) as rig:
        assert not rig.index.is_complete
        await until(lambda: rig.index.is_complete)
        assert rig.metrics.get("disk.swept", kind="adopted") == CHUNKS
        assert await read_all(rig) == (CHUNKS, 0)
        await rig.index.flush()
    assert_in_order(cache)


async def test_a_log_that_is_lost_costs_its_rows_until_the_files_are_looked_at(tmp_path: Path) -> None:
    cache, copy = tmp_path / "cache", tmp_path / "index"
    async with storage_rig(cache) as rig:
        await rig.index.flush()
        shutil.copyfile(cache / "index.sqlite", copy)
        for number in range(FILES):
            await rig.read_file(number)
    shutil.copyfile(copy, cache / "index.sqlite")
    async with storage_rig(cache) as rig:
        await until(lambda: rig.index.chunks.get_totals().chunks == CHUNKS)
        assert await read_all(rig) == (CHUNKS, 0)
    assert_in_order(cache)


async def test_an_index_lost_while_mounted_is_made_anew_without_a_restart(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    async with storage_rig(cache) as rig:
        assert await read_all(rig) == (0, CHUNKS)
        # As when damage is met, which the pages that SQLite holds in memory may put off for long.
        await rig.index.renew()
        assert rig.index.chunks.get_totals().chunks == 0
        await until(lambda: rig.index.is_complete)
        assert rig.metrics.get("disk.swept", kind="adopted") >= CHUNKS
        assert await read_all(rig) == (CHUNKS, 0)
    assert_in_order(cache)


async def test_what_is_interrupted_is_gone_on_with_at_the_next_start(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    await fill(cache)
    delete_all(cache / "index.sqlite")
    async with storage_rig(cache) as rig:
        rig.supervisor.nursery.cancel_scope.cancel()
    async with storage_rig(cache) as rig:
        assert not rig.index.was_rebuilt
        assert not rig.index.is_complete
        await until(lambda: rig.index.is_complete)
        assert await read_all(rig) == (CHUNKS, 0)
    assert_in_order(cache)


async def test_the_limit_holds_as_soon_as_all_is_counted(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    await fill(cache)
    delete_all(cache / "index.sqlite")
    async with storage_rig(cache, limits=DiskLimits(3 * MIB, min_free_bytes=0)) as rig:
        await until(lambda: rig.metrics.get("disk.evicted", reason="size") > 0)
        await until(lambda: rig.index.is_complete)
        assert rig.index.chunks.get_totals().bytes < 3 * MIB
    assert_in_order(cache)


# --- the mount -----------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [delete_all, become_anothers])
def test_a_killed_mount_whose_index_is_lost_serves_all_that_it_had(
    workspace: Served, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    contents = {f"{n}.bin": random.Random(n).randbytes(300_000 * (n + 1)) for n in range(5)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
        os.utime(workspace.volume / name, (FIRST_MTIME, FIRST_MTIME))
    with mounted(workspace, tmp_path) as live:
        top = live.path / "main/sales/raw"
        assert {name: (top / name).read_bytes() for name in contents} == contents
        stored = sum(-(-len(content) // MIB) for content in contents.values())
        assert wait_for(lambda: len(list(live.cache.rglob("*.chunk"))) == stored)
        live.kill()
    harm(tmp_path / "cache/index.sqlite")
    with mounted(workspace, tmp_path) as live:
        assert wait_for(lambda: f"recorded again in the index: {stored} chunk files" in live.log)
        workspace.journal.clear()
        assert {name: (top / name).read_bytes() for name in contents} == contents
        assert workspace.counts["fs.files.get"] == 0
        assert live.stop() == 0
    assert_in_order(tmp_path / "cache")
