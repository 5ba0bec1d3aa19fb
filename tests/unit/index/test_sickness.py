"""A disk that is full or fails: the index goes without, and comes back by itself."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import Index, Totals, VictimQuery
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    HandClock,
    checked,
    file_entry,
    is_healthy,
    names_in,
    new_chunk,
    opened,
    post_walk,
)


@contextmanager
def writes_fail() -> Iterator[None]:
    """No file of this process can be written beyond its first 4 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * KIB, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False)
    if done.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        write_all(filler)


def write_all(filler: FileIO) -> None:
    while True:
        filler.write(b"x" * 4 * KIB)


async def write_until_it_fails(index: Index) -> None:
    for n in range(1000):
        path = FOLDER.child(f"{n}")
        await index.chunks.add(path, VERSION, [new_chunk(m, path=path, disk_bytes=0) for m in range(100)])


async def test_what_cannot_be_written_is_dropped_and_told(tmp_path: Path) -> None:
    clock, metrics = HandClock(), Metrics()
    async with opened(tmp_path, clock=clock, metrics=metrics) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        with writes_fail():
            with pytest.raises(IndexUnavailable):
                await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(1, 50)])
            assert not is_healthy(index)
            assert index.chunks.get_totals() == Totals(1, KIB)
            index.tree.post_entry(FILE, None, file_entry("a.csv"), fetched_at=1.0, expires_at=2.0)
            with pytest.raises(IndexUnavailable):
                await index.flush()
            assert metrics.get("index.dropped_posts", reason="paused") == 1
            assert set(index.chunks.load_span(FILE, VERSION, 0, 99) or ()) == {0}
            clock.step(5)
            with pytest.raises(IndexUnavailable):
                await index.flush()
    assert metrics.get("index.write_errors", reason="disk") == 2
    assert checked(tmp_path).is_clean


async def test_it_is_tried_again_without_anybodys_help(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        with writes_fail(), pytest.raises(IndexUnavailable):
            await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(50)])
        with pytest.raises(IndexUnavailable):
            await index.flush()
        clock.step(2)
        await index.chunks.add(FILE, VERSION, [new_chunk(7)])
        assert is_healthy(index)
        assert not index.was_rebuilt
        assert set(index.chunks.load_span(FILE, VERSION, 0, 99) or ()) == {7}
    assert checked(tmp_path).is_clean


async def test_a_walk_over_a_bad_spell_does_not_complete(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        pages = [[file_entry(f"{page}-{n:03}") for n in range(200)] for page in range(3)]
        for position, page in enumerate(pages):
            index.tree.post_listing(
                FOLDER, None, page, fetched_at=1.0, expires_at=2.0, first=position == 0, last=position == 2
            )
            if position == 1:
                with writes_fail(), pytest.raises(IndexUnavailable):
                    await index.flush()
                clock.step(2)
            await index.flush()
        listing = index.tree.load_listing(FOLDER, None)
        assert listing is not None
        assert not listing.complete
        post_walk(index, FOLDER, pages)
        await index.flush()
        assert len(names_in(index, FOLDER)) == 600
    assert checked(tmp_path).is_clean


async def test_a_full_disk_can_be_made_less_full(small_disk: Path) -> None:
    """The victims are named though their rows cannot be deleted; with their files gone, they can."""
    clock = HandClock()
    async with opened(small_disk, clock=clock) as index:
        for n in range(300):
            (small_disk / f"{n}").write_bytes(b"x" * 16 * KIB)
            await index.chunks.add(FILE, VERSION, [new_chunk(n, disk_bytes=16 * KIB)])
        fill(small_disk)
        with pytest.raises(IndexUnavailable):
            await write_until_it_fails(index)
        assert not is_healthy(index)
        recorded = index.chunks.get_totals().chunks
        named = await index.chunks.take_victims(VictimQuery(free_bytes=1024 * KIB))
        assert len(named) == 64
        assert index.chunks.get_totals().chunks == recorded
        for n in range(64):
            (small_disk / f"{n}").unlink()
        clock.step(2)
        assert await index.chunks.take_victims(VictimQuery(free_bytes=1024 * KIB)) == named
        assert is_healthy(index)
        assert index.chunks.get_totals().chunks == recorded - 64
    assert checked(small_disk).is_clean


async def test_a_disk_that_was_full_from_the_start_is_an_index_to_do_without(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(IndexUnavailable):
        async with opened(small_disk):
            pass
    (small_disk / "filler").unlink()
    async with opened(small_disk) as index:
        assert is_healthy(index)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable):
        async with opened(tmp_path / "missing"):
            pass
