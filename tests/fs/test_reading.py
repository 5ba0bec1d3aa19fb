"""Opening and reading: what it costs, and what happens when a file changes meanwhile."""

from __future__ import annotations

import os

import pytest

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import BadHandle, ReadOnly, VersionChanged
from tests.support.benches import bench_of, setting_of
from tests.support.fakes import ADA, MODIFIED, at, bytes_of
from tests.support.kernel import kernel_of


async def test_a_cold_read_of_a_listed_file_costs_one_call_and_a_warm_one_none() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        await kernel.walk(at("d", "g"))
        before = bench.workspace.count()
        content = await kernel.read_file(at("d", "f"))
        assert content == bytes_of((bench.workspace.find(at("d", "f"))).version or pytest.fail("no version"))
        assert bench.workspace.count() == before + 1
        assert await kernel.read_file(at("d", "f")) == content
        assert bench.workspace.count() == before + 1


async def test_what_is_cached_is_answered_without_giving_up_the_processor() -> None:
    """lookup, getattr and read run in the FUSE loop: a real wait in one of them is a wait for everybody."""
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = await kernel.walk(at("d", "f")), await kernel.walk(at("d"))
        await kernel.read_file(at("d", "f"))
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)
        for call in (
            bench.filesystem.lookup(ADA, folder.ino, b"f"),
            bench.filesystem.getattr(ADA, file.ino),
            bench.filesystem.open(ADA, file.ino, os.O_RDONLY),
            bench.filesystem.read(opened.number, 0, 5),
            bench.filesystem.check_access(ADA, file.ino, os.R_OK),
        ):
            with pytest.raises(StopIteration):
                call.send(None)


async def test_flags_of_open() -> None:
    async with bench_of(setting_of("f")) as bench:
        file = await kernel_of(bench).walk(at("d", "f"))
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            with pytest.raises(ReadOnly):
                await bench.filesystem.open(ADA, file.ino, flags)
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY | os.O_APPEND | os.O_NOFOLLOW)
        assert opened.keep_cache
        assert not opened.direct_io


async def test_open_of_a_changed_file_is_stale_and_the_next_lookup_gives_a_new_inode() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        bench.workspace.put(at("d", "f"), size=9)
        bench.clock.step(Ttls().inner)
        with pytest.raises(VersionChanged):
            await bench.filesystem.open(ADA, old.ino, os.O_RDONLY)
        new = await kernel.walk(at("d", "f"))
        assert (new.ino != old.ino, new.size) == (True, 9)
        await bench.filesystem.open(ADA, new.ino, os.O_RDONLY)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["changed", "deleted"])
async def test_a_file_that_changes_under_a_handle_is_stale_and_its_metadata_too(*, is_deleted: bool) -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        opened = await bench.filesystem.open(ADA, old.ino, os.O_RDONLY)
        if is_deleted:
            bench.workspace.remove(at("d", "f"))
        else:
            bench.workspace.put(at("d", "f"), size=9)
        with pytest.raises(VersionChanged):
            await bench.filesystem.read(opened.number, 0, 5)
        now = await kernel.walk(at("d", "f"))
        assert now.size == (0 if is_deleted else 9)
        assert (now.ino == 0) is is_deleted


async def test_an_unchanged_file_keeps_its_inode() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        first = await kernel.walk(at("d", "f"))
        bench.clock.step(Ttls().inner)
        assert (await kernel.walk(at("d", "f"))).ino == first.ino, "unchanged: the kernel's pages stay good"


async def test_a_file_too_young_to_be_trusted_opens_but_its_pages_are_read_again() -> None:
    """With a short TTL each look at a file of this very second is another version: ``open`` must not be ESTALE."""
    setting = setting_of()
    setting.workspace.put(at("d", "f"), unsettled_at=MODIFIED)
    async with bench_of(setting) as bench:
        file = await kernel_of(bench).walk(at("d", "f"))
        assert (await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)).keep_cache
        bench.workspace.put(at("d", "f"), unsettled_at=MODIFIED + 1)
        bench.clock.step(Ttls().inner)
        assert not (await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)).keep_cache


async def test_handles_that_are_not_open() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        folder = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        for call in (bench.filesystem.read(folder, 0, 5), bench.filesystem.read(99, 0, 5)):
            with pytest.raises(BadHandle):
                await call
        with pytest.raises(BadHandle):
            await bench.filesystem.readdir(99, 0, lambda *_: True)
        with pytest.raises(BadHandle):
            bench.filesystem.write(folder, 0, b"x")
        bench.filesystem.release(99)
        bench.filesystem.releasedir(99)


async def test_everything_that_was_taken_is_given_back() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        await kernel.read_file(at("d", "f"))
        await kernel.list_folder(at("d"))
        file = await kernel.walk(at("d", "g"))
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) > 1, "an open handle holds its inode and the folders above"
        assert await bench.filesystem.read(opened.number, 0, 9) == await bench.filesystem.read(
            opened.number, 0, 5
        )
        bench.filesystem.release(opened.number)
        assert list(bench.filesystem.inodes) == [bench.filesystem.inodes.root]
        assert bench.filesystem.inodes.root.holds == 0
        assert len(bench.filesystem.handles) == 0
        assert all(reader.is_closed for reader in bench.content.readers)


async def test_a_reader_that_fails_to_close_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        opened = await bench.filesystem.open(ADA, (await kernel.walk(at("d", "f"))).ino, os.O_RDONLY)

        def fail() -> None:
            raise ValueError

        monkeypatch.setattr(bench.content.readers[0], "close", fail)
        with pytest.raises(ValueError):
            bench.filesystem.release(opened.number)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1
