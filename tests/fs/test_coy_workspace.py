"""A workspace that says "no such thing" where it means "not for you", and shows the volume itself to everybody.

A 404 at a volume's root may also be an emptied volume's (databricks-api 1.2). It proves nothing in either case: not that
he may read what others have cached, and not that there is nothing for others.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fuse4dbricks.errors import NotFound
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, VOLUME, at, token_of, workspace_with
from tests.support.kernel import Kernel


@asynccontextmanager
async def coy_mount(*, is_shared: bool = True) -> AsyncIterator[Bench]:
    """Ada and bob may read the volume, as long as they may."""
    workspace = workspace_with("ada", "bob")
    workspace.is_coy = True
    for name in ("f", "g"):
        workspace.put(at("d", name))
    workspace.put(at("top"))
    setting = Setting(workspace, is_shared=is_shared, tree=FakeTree(), grants=FakeGrants())
    async with bench_of(setting) as bench:
        bench.written.set(ADA, token_of("ada"))
        bench.written.set(BOB, token_of("bob"))
        yield bench


async def warm(ada: Kernel) -> None:
    assert await ada.list_folder(VOLUME) == ["d", "top"]
    assert await ada.list_folder(at("d")) == ["f", "g"]
    await ada.read_file(at("d", "f"))


async def test_who_is_told_404_reads_nothing_that_others_have_cached() -> None:
    async with coy_mount() as bench:
        ada, bob = Kernel(bench.filesystem, ADA), Kernel(bench.filesystem, BOB)
        bench.workspace.revoke("bob")
        await warm(ada)
        folder, file = (await ada.walk(at("d"))).ino, (await ada.walk(at("d", "f"))).ino
        for _ in range(2):
            assert await bob.list_folder(VOLUME) == [], "as far as he is told, it is empty"
            for attempt in (
                bob.walk(at("d")),
                bob.walk(at("top")),
                bob.walk(at("d", "f")),
                bob.read_inode(file),
            ):
                with pytest.raises(NotFound):
                    await attempt
            for ino in (folder, file):
                with pytest.raises(NotFound):
                    await bench.filesystem.getattr(BOB, ino)
                with pytest.raises(NotFound):
                    await bench.filesystem.check_access(BOB, ino, os.R_OK)
            with pytest.raises(NotFound):
                await bob.list_inode(folder)


async def test_what_one_user_is_not_told_of_is_there_for_the_others() -> None:
    async with coy_mount() as bench:
        ada, bob = Kernel(bench.filesystem, ADA), Kernel(bench.filesystem, BOB)
        bench.workspace.revoke("bob")
        assert await bob.list_folder(VOLUME) == []
        await warm(ada)
        bench.clock.step(31)  # her listing is asked for anew, and his answer must not be taken for it
        assert await bob.list_folder(VOLUME) == []
        await warm(ada)


async def test_who_lost_the_right_in_such_words_keeps_nothing() -> None:
    async with coy_mount() as bench:
        ada, bob = Kernel(bench.filesystem, ADA), Kernel(bench.filesystem, BOB)
        await warm(ada)
        opened = await bench.filesystem.open(BOB, (await bob.walk(at("d", "f"))).ino, os.O_RDONLY)
        folder = await bench.filesystem.opendir(BOB, (await bob.walk(VOLUME)).ino)
        assert await bench.filesystem.read(opened.number, 0, 5)
        assert await bob.read_entries(folder, 0)
        bench.workspace.revoke("bob")
        bench.clock.step(PERMISSION_TTL + 1)
        await warm(ada)
        with pytest.raises(NotFound):
            await bench.filesystem.read(opened.number, 0, 5)
        for offset in (2, 0):
            names = [name for name, _, _ in await bob.read_entries(folder, offset)]
            assert set(names) <= {b".", b".."}
        bench.workspace.allow("bob")
        assert await bench.filesystem.read(opened.number, 0, 5)
        assert {b"d", b"top"} < {name for name, _, _ in await bob.read_entries(folder, 0)}
