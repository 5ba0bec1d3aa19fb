"""What names, attributes and permissions mean for one local user, over a workspace in dictionaries."""

from __future__ import annotations

import os
import stat

import pytest

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import (
    AccessDenied,
    IsADirectory,
    NameTooLong,
    NoAttribute,
    NoSuchName,
    NotADirectory,
    NotFound,
    ReadOnly,
)
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.control.tree import README_INO
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import bench_of, setting_of
from tests.support.fakes import ADA, MODIFIED, NOW, at
from tests.support.kernel import kernel_of


async def test_a_file_is_found_and_shown() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        shown = await kernel.walk(at("d", "f"))
        assert stat.S_ISREG(shown.mode)
        assert (stat.S_IMODE(shown.mode), shown.size, shown.mtime, shown.nlink) == (0o444, 5, MODIFIED, 1)
        assert shown.entry_timeout == shown.attr_timeout == Ttls().inner
        again = await bench.filesystem.getattr(ADA, shown.ino)
        assert again == shown
        folder = await kernel.walk(at("d"))
        assert stat.S_ISDIR(folder.mode)
        assert stat.S_IMODE(folder.mode) == 0o555


async def test_timeouts_are_what_is_left_of_the_freshness() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        shown = await kernel.walk(at("d", "f"))
        bench.clock.step(Ttls().inner - 1)
        assert (await bench.filesystem.getattr(ADA, shown.ino)).attr_timeout == 1
        bench.clock.step(2)
        assert (await bench.filesystem.getattr(ADA, shown.ino)).attr_timeout == 0


async def test_getattr_of_an_inode_whose_file_has_moved_on_is_kept_by_nobody() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        bench.workspace.put(at("d", "f"), size=9)
        bench.clock.step(Ttls().inner)
        new = await kernel.walk(at("d", "f"))
        assert new.ino != old.ino
        shown = await bench.filesystem.getattr(ADA, old.ino)
        assert (shown.size, shown.attr_timeout) == (5, 0)


async def test_a_missing_name_is_a_negative_dentry_for_one_user_and_an_error_on_a_shared_mount() -> None:
    async with bench_of(setting_of("f")) as bench:
        absent = await kernel_of(bench).walk(at("d", "none"))
        assert absent == Attributes(0, entry_timeout=Ttls().negative)
    async with bench_of(setting_of("f", is_shared=True)) as bench:
        with pytest.raises(NotFound):
            await kernel_of(bench).walk(at("d", "none"))


@pytest.mark.parametrize(
    ("raw", "error"),
    [(b"\xff\xfe", NoSuchName), (b"x" * 256, NameTooLong), (b"..", NoSuchName), (b"a/b", NoSuchName)],
)
async def test_names_that_cannot_be_cost_no_call(raw: bytes, error: type[Exception]) -> None:
    async with bench_of(setting_of("f")) as bench:
        folder = await kernel_of(bench).walk(at("d"))
        before = bench.workspace.count()
        for parent in (ROOT_INO, folder.ino):
            with pytest.raises(error):
                await bench.filesystem.lookup(ADA, parent, raw)
        assert bench.workspace.count() == before


async def test_a_file_is_no_folder_and_a_folder_no_file() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = await kernel.walk(at("d", "f")), await kernel.walk(at("d"))
        for call in (
            bench.filesystem.lookup(ADA, file.ino, b"x"),
            bench.filesystem.opendir(ADA, file.ino),
            bench.filesystem.lookup(ADA, README_INO, b"x"),
        ):
            with pytest.raises((NotADirectory, NotFound)):
                await call
        with pytest.raises(IsADirectory):
            await bench.filesystem.open(ADA, folder.ino, os.O_RDONLY)


async def test_inodes_that_the_kernel_never_had() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel_of(bench)
        for call in (bench.filesystem.getattr(ADA, 4711), bench.filesystem.lookup(ADA, 4711, b"x")):
            with pytest.raises(NoSuchName):
                await call


async def test_the_time_of_a_folder_is_that_of_what_it_lies_in_or_of_the_mount() -> None:
    async with bench_of(setting_of("f")) as bench:
        assert (await kernel_of(bench).walk(at("d"))).mtime == NOW


async def test_extended_attributes_are_none() -> None:
    async with bench_of(setting_of("f")) as bench:
        assert await bench.filesystem.listxattr(ADA, ROOT_INO) == []
        with pytest.raises(NoAttribute):
            await bench.filesystem.getxattr(ADA, ROOT_INO, b"user.\xff")


async def test_access() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = (await kernel.walk(at("d", "f"))).ino, (await kernel.walk(at("d"))).ino
        filesystem = bench.filesystem
        await filesystem.check_access(ADA, file, os.R_OK)
        await filesystem.check_access(ADA, folder, os.R_OK | os.X_OK)
        await filesystem.check_access(ADA, ROOT_INO, os.X_OK)
        with pytest.raises(AccessDenied):
            await filesystem.check_access(ADA, file, os.X_OK)
        for ino in (file, folder, ROOT_INO):
            with pytest.raises(ReadOnly):
                await filesystem.check_access(ADA, ino, os.W_OK)
