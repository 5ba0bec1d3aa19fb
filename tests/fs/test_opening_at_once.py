"""``open`` without a wait: where nothing is to be asked for, and only for whom nothing has to be."""

from __future__ import annotations

import os

import pytest

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import VersionChanged
from fuse4dbricks.vfs.control.tree import README_INO, TOKEN_INO
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, at, bytes_of, token_of, workspace_with
from tests.support.kernel import Kernel

FILE = at("d", "f")


def setting_of() -> Setting:
    workspace = workspace_with("ada", "bob")
    workspace.put(FILE)
    workspace.put(at("d", "g"))
    return Setting(workspace, is_shared=True)


async def known(bench: Bench) -> int:
    """The number of a file that Ada has read."""
    bench.written.set(ADA, token_of("ada"))
    kernel = Kernel(bench.filesystem, ADA)
    await kernel.read_file(FILE)
    return (await kernel.walk(FILE)).ino


def is_opened(bench: Bench, uid: int, ino: int, flags: int = os.O_RDONLY) -> bool:
    opened = bench.filesystem.get_opened(uid, ino, flags)
    if opened is not None:
        bench.filesystem.release(opened.number)
    return opened is not None


async def test_what_is_known_is_opened_at_once_and_read() -> None:
    async with bench_of(setting_of()) as bench:
        ino = await known(bench)
        bench.workspace.calls.clear()
        opened = bench.filesystem.get_opened(ADA, ino, os.O_RDONLY)
        assert opened is not None
        assert opened.keep_cache
        version = bench.workspace.find(FILE).version
        assert version is not None
        assert bytes(await bench.filesystem.read(opened.number, 0, 100)) == bytes_of(version)
        bench.filesystem.release(opened.number)
        assert not len(bench.filesystem.handles)
        assert not bench.workspace.calls


async def test_what_has_to_wait_is_left_to_open() -> None:
    async with bench_of(setting_of()) as bench:
        ino = await known(bench)
        folder = (await Kernel(bench.filesystem, ADA).walk(at("d"))).ino
        for other in (ROOT_INO, README_INO, TOKEN_INO, folder, 4711):
            assert not is_opened(bench, ADA, other)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            assert not is_opened(bench, ADA, ino, flags)
        bench.clock.step(Ttls().inner - 1)
        assert is_opened(bench, ADA, ino)
        bench.clock.step(1)
        assert not is_opened(bench, ADA, ino), "its metadata is out of date"


async def test_nobody_passes_without_a_proof_of_his_own() -> None:
    async with bench_of(setting_of()) as bench:
        ino = await known(bench)
        assert not is_opened(bench, BOB, ino), "no token"
        bench.written.set(BOB, token_of("bob"))
        assert not is_opened(bench, BOB, ino), "nobody knows who he is"
        await bench.access.resolve_viewer(BOB)
        assert not is_opened(bench, BOB, ino), "the workspace was not asked whether he may"
        await Kernel(bench.filesystem, BOB).read_file(FILE)
        assert is_opened(bench, BOB, ino)
        bench.written.forget(BOB)
        assert not is_opened(bench, BOB, ino), "his token is gone"
        assert is_opened(bench, ADA, ino)


async def test_a_proof_that_has_ended_opens_nothing() -> None:
    async with bench_of(setting_of()) as bench:
        ino = await known(bench)
        bench.workspace.revoke("ada")
        bench.written.set(BOB, token_of("bob"))
        bench.clock.step(PERMISSION_TTL - 1)
        await Kernel(bench.filesystem, BOB).read_file(FILE)
        assert is_opened(bench, BOB, ino), "what is known of the file is fresh"
        bench.clock.step(1)
        assert is_opened(bench, BOB, ino)
        assert not is_opened(bench, ADA, ino)
        with pytest.raises(Exception, match="READ VOLUME"):
            await bench.filesystem.open(ADA, ino, os.O_RDONLY)


async def test_an_inode_of_another_version_is_refused_at_once() -> None:
    async with bench_of(setting_of()) as bench:
        old = await known(bench)
        bench.clock.step(Ttls().inner)
        bench.workspace.put(FILE, size=9)
        kernel = Kernel(bench.filesystem, ADA)
        new = (await kernel.walk(FILE)).ino
        assert new != old
        await kernel.read_file(at("d", "g"))
        # The kernel holds both, and what is known is the new one.
        with pytest.raises(VersionChanged):
            bench.filesystem.get_opened(ADA, old, os.O_RDONLY)
        assert is_opened(bench, ADA, new)
