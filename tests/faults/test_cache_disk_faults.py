"""What can happen to a cache disk (faults.md F1, F3 to F7, F9, L7), against the real index and real chunk files.

The oracle is the reader of ``tests.support.storage``: every byte that comes from disk is compared with what the
workspace would have sent, and a read that gets nothing from disk gets it there. Each fault must have struck.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.chunks import ChunkLabel, ChunkName
from fuse4dbricks.errors import CacheError
from fuse4dbricks.units import KIB, MIB
from tests.support.chunkrows import tier_rig, until
from tests.support.indexes import HandClock
from tests.support.storage import CHUNKS_PER_FILE, VOLUME, StorageRig, storage_rig, version_of
from tests.support.stores import WatchedStore
from tests.support.users import acting_as_nobody

FILES = 25
CHUNKS = FILES * CHUNKS_PER_FILE


async def read_all(rig: StorageRig, files: range = range(FILES)) -> tuple[int, int]:
    """Read every chunk; how many came from disk and how many from the workspace."""
    before = (rig.from_disk, rig.from_workspace)
    for number in files:
        await rig.read_file(number)
    return rig.from_disk - before[0], rig.from_workspace - before[1]


def disk_usage(folder: Path) -> int:
    used = 0
    for file in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):
            used += file.lstat().st_blocks * 512
    return used


# --- F7, F3: what the disk gives is not what was written -----------------------------------------


def flip(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def cut(file: Path, other: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size))


def empty(file: Path, other: Path, rng: random.Random) -> None:
    os.truncate(file, 0)


def extend(file: Path, other: Path, rng: random.Random) -> None:
    with file.open("ab") as growing:
        growing.write(rng.randbytes(rng.randrange(1, 9000)))


def zero(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def take_anothers_place(file: Path, other: Path, rng: random.Random) -> None:
    shutil.copyfile(other, file)


def delete(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("harm", [flip, cut, empty, extend, zero, take_anothers_place, delete])
async def test_every_harm_to_a_chunk_file_is_noticed_and_healed(
    tmp_path: Path, harm: Callable[[Path, Path, random.Random], None], restart: bool
) -> None:
    rng = random.Random(7)
    async with storage_rig(tmp_path / "cache") as rig:
        assert await read_all(rig) == (0, CHUNKS)
        assert await read_all(rig) == (CHUNKS, 0)
        files = rig.stored()
        assert len(files) == CHUNKS
        if not restart:
            await harm_and_heal(rig, files, harm, rng)
    if restart:
        async with storage_rig(tmp_path / "cache") as rig:
            await harm_and_heal(rig, files, harm, rng)


async def harm_and_heal(
    rig: StorageRig, files: list[Path], harm: Callable[[Path, Path, random.Random], None], rng: random.Random
) -> None:
    originals = {file: file.read_bytes() for file in files}
    spared = files[0]
    for file in files[1:]:
        harm(file, spared, rng)
    assert await read_all(rig) == (1, CHUNKS - 1)
    if harm is not delete:  # the sweep, too, notices that a file is gone, and may come first
        assert rig.metrics.get("disk.dropped") == CHUNKS - 1
    assert await read_all(rig) == (CHUNKS, 0)
    # What differs between a chunk and the one that replaced it is when it was made.
    assert all(file.read_bytes()[: 60 * KIB] == content[: 60 * KIB] for file, content in originals.items())


# --- F1: killed at any moment --------------------------------------------------------------------


def store_until_killed(folder: Path, *, lines: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.storage", folder], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for _ in range(lines):
            assert child.stdout.readline()
        child.kill()


async def test_a_killed_process_leaves_a_cache_that_is_right_and_is_tidied(tmp_path: Path) -> None:
    rng = random.Random(11)
    folder, warm = tmp_path / "cache", 0
    for _ in range(4):
        await trio.to_thread.run_sync(
            lambda: store_until_killed(folder, lines=rng.randrange(1, 60)), abandon_on_cancel=False
        )
        async with storage_rig(folder, limits=DiskLimits(32 * MIB, min_free_bytes=0)) as rig:
            await until(lambda: ("disk.swept", {"kind": "orphan"}) in [row[:2] for row in rig.metrics])
            assert not list((folder / "tmp").iterdir())
            assert len(rig.stored()) == rig.index.chunks.get_totals().chunks
            for number in reversed(range(60)):
                await rig.read_file(number)
            assert rig.metrics.get("disk.dropped") == 0
            warm += rig.from_disk
    assert warm > 0


# --- F4, F9: full, read-only, gone ---------------------------------------------------------------


@contextmanager
def tmpfs(disk: Path, options: str) -> Iterator[Path]:
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "tmpfs", disk],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB of its own."""
    with tmpfs(tmp_path / "disk", "size=32m") as disk:
        yield disk


async def test_a_full_disk_costs_the_cache_and_no_read_and_is_used_again_when_it_is_not_full(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    async with storage_rig(small_disk / "cache", clock=clock) as rig:
        await read_all(rig, range(4))
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(4096))
        assert await read_all(rig, range(4)) == (16, 0)  # what is there is read
        assert (await read_all(rig, range(4, 40)))[0] == 0  # what is not comes from the workspace
        assert rig.metrics.get("disk.refused") > 0
        said = [row for row in caplog.records if row.name == "fuse4dbricks.cache"]
        assert 1 <= len(said) <= 3
        ballast.unlink()
        for _ in range(10):
            clock.step(61)
            await read_all(rig, range(4, 40))
        assert (await read_all(rig, range(4, 40)))[0] > 0


async def test_a_disk_that_takes_no_more_files_costs_the_cache_and_no_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folders and the index take some 270 of these."""
    with tmpfs(tmp_path / "disk", "size=64m,nr_inodes=310") as disk:
        async with storage_rig(disk / "cache") as rig:
            assert await read_all(rig) == (0, CHUNKS)
            stored = len(rig.stored())
            assert 0 < stored < CHUNKS
            assert rig.metrics.get("disk.refused") > 0
            assert await read_all(rig) == (stored, CHUNKS - stored)
            assert 1 <= len([row for row in caplog.records if row.name == "fuse4dbricks.cache"]) <= 3


async def test_where_the_disk_is_the_limit_new_chunks_replace_old_ones_and_the_margin_stays_free(
    small_disk: Path,
) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=MIB)
    lowest = 32 * MIB
    async with storage_rig(small_disk / "cache", limits=limits) as rig:
        for number in range(200):
            await rig.read_file(number)
            lowest = min(lowest, rig.folder.free_bytes()[0])
        assert rig.metrics.get("disk.published") == 800
        assert rig.metrics.get("disk.evicted", reason="space") > 200
        assert MIB <= lowest < 3 * MIB
        assert await read_all(rig, range(190, 200)) == (40, 0)


@pytest.mark.parametrize("bits", [0o500, 0o000])
async def test_a_folder_that_may_not_be_used_any_more_costs_no_read(bits: int) -> None:
    clock = HandClock()
    with acting_as_nobody() as home:
        async with storage_rig(home / "cache", clock=clock) as rig:
            await read_all(rig, range(5))
            folders = [
                home / "cache" / "tmp",
                home / "cache" / "chunks",
                *(home / "cache" / "chunks").iterdir(),
            ]
            for folder in reversed(folders):
                folder.chmod(bits)
            rig.store.close()
            from_disk, from_workspace = await read_all(rig, range(15))
            assert from_disk == (20 if bits else 0)
            assert from_workspace == 60 - from_disk
            assert rig.metrics.get("disk.errors", operation="write") >= 1
            for folder in folders:
                folder.chmod(0o700)
            clock.step(60)
            await read_all(rig, range(15))
            assert await read_all(rig, range(15)) == (60, 0)


@pytest.mark.parametrize("what", ["chunks", "tmp", "everything", "chunks and index"])
async def test_a_folder_that_is_deleted_while_mounted_costs_no_read(tmp_path: Path, what: str) -> None:
    cache = tmp_path / "cache"
    async with storage_rig(cache) as rig:
        await read_all(rig, range(5))
        if what == "everything":
            shutil.rmtree(cache)
        else:
            for name in {"chunks and index": ("chunks", "index.sqlite")}.get(what, (what,)):
                file = cache / name
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        for _ in range(3):
            await read_all(rig, range(5))
            await read_all(rig, range(5, 10))
        assert rig.from_disk + rig.from_workspace == 5 * 4 + 3 * 40
        if what in {"chunks", "tmp"}:
            assert await read_all(rig, range(10)) == (40, 0)


async def test_a_folder_replaced_by_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    async with storage_rig(tmp_path / "cache") as rig:
        shutil.rmtree(rig.folder.path / "chunks")
        (rig.folder.path / "chunks").symlink_to(victim)
        await read_all(rig)
        assert rig.from_disk == 0
        assert rig.metrics.get("disk.refused") == CHUNKS
        assert not list(victim.iterdir())


# --- F5: the disk fails --------------------------------------------------------------------------


class FailingStore(WatchedStore):
    """Every call that reaches the disk fails as the kernel says it: EIO."""

    failing: frozenset[str] = frozenset()
    struck = 0

    def _strike(self, what: str) -> None:
        if what in self.failing:
            FailingStore.struck += 1
            raise CacheError(what) from OSError(errno.EIO, os.strerror(errno.EIO))

    def before_write(self) -> None:
        self._strike("write")

    def load(self, label: ChunkLabel, length: int, checksum: int) -> memoryview:
        self._strike("read")
        return super().load(label, length, checksum)

    def read_now(self, name: ChunkName, offset: int, length: int) -> bytes | bytearray | None:
        return None if "read" in self.failing else super().read_now(name, offset, length)


@pytest.mark.parametrize("failing", [frozenset({"read"}), frozenset({"write"}), frozenset({"read", "write"})])
async def test_a_failing_disk_is_left_alone_and_used_again_when_it_works(
    tmp_path: Path, failing: frozenset[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    FailingStore.struck = 0
    async with storage_rig(tmp_path / "cache", store_type=FailingStore, clock=clock) as rig:
        await read_all(rig, range(5))
        FailingStore.failing = failing
        try:
            served = await read_all(rig, range(15))
            assert sum(served) == 60
            assert served[0] == (0 if "read" in failing else 20)
            # Not one try per read: three until it is left alone, and then one per pause.
            assert 3 <= FailingStore.struck <= 3 * len(failing)
            struck = FailingStore.struck
            await read_all(rig, range(15))
            assert FailingStore.struck == struck
            clock.step(5)
            await read_all(rig, range(15))
            assert struck < FailingStore.struck <= struck + len(failing)
        finally:
            FailingStore.failing = frozenset()
        clock.step(60)
        await read_all(rig, range(15))
        assert await read_all(rig, range(15)) == (60, 0)
        for what, purpose in (("read", "reading"), ("write", "writing")):
            lines = [row for row in caplog.records if f"not used for {purpose}" in row.getMessage()]
            assert len(lines) == (what in failing)


# --- F6: the disk hangs --------------------------------------------------------------------------


class HangingStore(WatchedStore):
    """Loads and writes do not come back while the gate is closed."""

    gate = threading.Event()
    writes = 0

    def before_write(self) -> None:
        HangingStore.writes += 1
        self.gate.wait(60)

    def load(self, label: ChunkLabel, length: int, checksum: int) -> memoryview:
        self.gate.wait(60)
        return super().load(label, length, checksum)


@pytest.fixture
def disk_gate() -> Iterator[threading.Event]:
    HangingStore.gate.set()
    yield HangingStore.gate
    HangingStore.gate.set()


async def test_a_disk_that_hangs_costs_readers_one_deadline_together(
    tmp_path: Path, mock_clock: trio.testing.MockClock, disk_gate: threading.Event
) -> None:
    answers: list[bytes | None] = []
    async with tier_rig(tmp_path / "cache", store_type=HangingStore) as rig:
        await rig.store_chunks(*range(10))
        disk_gate.clear()

        async def reader(index: int) -> None:
            answers.append(await rig.load(index))

        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for index in range(10):
                nursery.start_soon(reader, index)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(5.0)
        assert answers == [None] * 10
        for index in range(10):
            assert rig.known() == frozenset()
            assert await rig.load(index) is None
        assert trio.current_time() - start == 5.0
        disk_gate.set()
        rig.clock.step(5)
        assert rig.known() == set(range(10))
        assert await rig.load(0) is not None
        assert await rig.load(1) is not None
        assert rig.metrics.get("disk.dropped") == 0


async def test_a_write_that_hangs_keeps_its_buffer_and_leaves_no_file(
    tmp_path: Path, mock_clock: trio.testing.MockClock, disk_gate: threading.Event
) -> None:
    async with tier_rig(tmp_path / "cache", store_type=HangingStore) as rig:
        disk_gate.clear()
        HangingStore.writes = 0
        for index in range(3):
            assert rig.offer(index)
        await until(lambda: HangingStore.writes == 2)
        mock_clock.jump(20.0)
        await rig.settle(1)
        (waited,) = rig.done  # no thread had it yet; the other two are still being read from
        assert not rig.offer((waited + 1) % 3)
        assert rig.metrics.get("disk.refused", reason="disk") == 3
        disk_gate.set()
        await rig.settle(3)
        assert not list(rig.folder.path.rglob("*.chunk"))
        assert not list((rig.folder.path / "tmp").iterdir())
        rig.clock.step(5)
        await rig.store_chunks(0)
        assert await rig.load(0) is not None


# --- L7: eviction against readers ----------------------------------------------------------------


async def test_a_cache_smaller_than_what_is_read_is_never_wrong_and_never_too_big(tmp_path: Path) -> None:
    limit = 32 * MIB
    highest = 0
    limits = DiskLimits(limit, min_free_bytes=0)
    async with storage_rig(tmp_path / "cache", limits=limits) as rig:

        async def reader(seed: int) -> None:
            nonlocal highest
            rng = random.Random(seed)
            for _ in range(6):
                number = rng.randrange(200)
                path, version = VOLUME.child(f"{number}.bin"), version_of(number)
                rig.tier.hold(path, version)
                for chunk in rng.sample(range(CHUNKS_PER_FILE), CHUNKS_PER_FILE):
                    await rig.read(path, version, chunk)
                rig.tier.release(path, version)
                highest = max(highest, disk_usage(rig.folder.path))

        async with trio.open_nursery() as nursery:
            for seed in range(32):
                nursery.start_soon(reader, seed)
        assert rig.from_disk > 0
        assert rig.metrics.get("disk.evicted", reason="size") > 0
        assert highest <= limit
    assert rig.metrics.get("tasks.failed") == 0
