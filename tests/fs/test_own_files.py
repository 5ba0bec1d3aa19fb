"""The mount's own files: who sees them instead of the catalogs, and how a token is written."""

from __future__ import annotations

import os

import pytest

from fuse4dbricks.errors import Fuse4dbricksError, NoToken, ReadOnly
from fuse4dbricks.vfs.control.tree import AUTH_INO, README_INO, TOKEN_INO
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import bench_of, setting_of
from tests.support.fakes import ADA, EVE, VOLUME, at, token_of
from tests.support.kernel import Kernel, kernel_of


async def test_without_a_token_only_the_readme_and_auth_are_there() -> None:
    async with bench_of(setting_of("f")) as bench:
        stranger = Kernel(bench.filesystem, EVE)
        assert await stranger.list_inode(ROOT_INO) == ["README.txt", ".auth"]
        assert await stranger.list_inode(AUTH_INO) == [
            "README.txt",
            "explain",
            "login",
            "login.sh",
            "personal_access_token",
            "status",
            "status.json",
        ]
        assert await stranger.read_inode(README_INO)
        with pytest.raises(NoToken):
            await stranger.walk(VOLUME)
        assert bench.workspace.count() == 0


async def test_an_invalid_token_shows_the_same() -> None:
    async with bench_of(setting_of("f")) as bench:
        stranger = kernel_of(bench, EVE, "nobody")
        assert await stranger.list_inode(ROOT_INO) == ["README.txt", ".auth"]


async def test_a_token_revoked_in_between_hides_the_catalogs_although_they_are_cached() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        assert "main" in await kernel.list_inode(ROOT_INO)
        await kernel.read_file(at("d", "f"))
        bench.workspace.people.clear()
        bench.clock.step(300)
        with pytest.raises(Fuse4dbricksError):
            await kernel.walk(at("d", "f"))
        for _ in range(3):
            assert await kernel.list_inode(ROOT_INO) == ["README.txt", ".auth"]
            bench.clock.step(5)


async def test_a_token_is_written_as_a_shell_does() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = Kernel(bench.filesystem, ADA)
        opened = await bench.filesystem.open(ADA, TOKEN_INO, os.O_WRONLY | os.O_TRUNC)
        assert opened.direct_io
        assert bench.filesystem.truncate(TOKEN_INO).size == 0
        text = token_of("ada").reveal().encode() + b"\n"
        assert bench.filesystem.write(opened.number, 0, text) == len(text)
        # The kernel may speak of the close later than of the next command.
        assert "main" in await kernel.list_inode(ROOT_INO)
        bench.filesystem.release(opened.number)
        assert "main" in await kernel.list_inode(ROOT_INO)
        assert await kernel.list_inode(AUTH_INO) == [
            "README.txt",
            "explain",
            "login",
            "login.sh",
            "status",
            "status.json",
        ]
        with pytest.raises(NoToken):
            await Kernel(bench.filesystem, EVE).walk(VOLUME)


async def test_only_the_token_file_can_be_truncated() -> None:
    async with bench_of(setting_of("f")) as bench:
        for ino in (ROOT_INO, README_INO, 4711):
            with pytest.raises(ReadOnly):
                bench.filesystem.truncate(ino)
