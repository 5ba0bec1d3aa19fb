"""What is served and what is said when the workspace cannot be reached, or a caller goes."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import Unreachable
from tests.support.benches import bench_of, setting_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import ADA, VOLUME, Call, at
from tests.support.kernel import kernel_of


async def test_an_outage_serves_what_is_cached_and_says_what_is_not() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        content = await kernel.read_file(at("d", "f"))
        assert await kernel.list_folder(at("d")) == ["f", "g"]
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(3600)
        assert await kernel.read_file(at("d", "f")) == content
        assert await kernel.list_folder(at("d")) == ["f", "g"]
        with pytest.raises(Unreachable):
            await kernel.walk(at("d", "unknown"))
        with pytest.raises(Unreachable):
            await kernel.read_file(at("d", "g"))


@pytest.mark.parametrize("is_shared", [False, True])
async def test_who_went_by_a_whole_path_finds_the_way_again_in_an_outage(is_shared: bool) -> None:
    """Nobody has listed the catalogs: what he has come by is shown, and what else there is, nobody knows."""
    setting = setting_of("f", is_shared=is_shared)
    setting.tree, setting.grants = FakeTree(), FakeGrants()
    async with bench_of(setting) as bench:
        await kernel_of(bench).read_file(at("d", "f"))
    setting.workspace.down = Unreachable("no route")
    setting.clock.step(3600)
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        path = VOLUME
        while path.depth:
            assert path.name in await kernel.list_folder(path.parent)
            path = path.parent
        assert (await kernel.walk(at("d", "f"))).size
        with pytest.raises(Unreachable):
            await kernel.walk(VOLUME.parent.child("other"))
        bench.clock.step(9 * 3600)
        with pytest.raises(Unreachable):
            await kernel.list_folder(VOLUME.parent)


async def test_reading_on_in_an_outage_does_not_prolong_it() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        opened = await bench.filesystem.open(ADA, (await kernel.walk(at("d", "f"))).ino, os.O_RDONLY)
        bench.workspace.down = Unreachable("no route")
        with pytest.raises(Unreachable):
            await bench.filesystem.read(opened.number, 0, 5)
        bench.workspace.down = None
        for _ in range(5):
            with pytest.raises(Unreachable):
                await bench.filesystem.read(opened.number, 0, 5)
            bench.clock.step(1)
        assert await bench.filesystem.read(opened.number, 0, 5)


async def test_the_root_of_an_emptied_volume_stays_an_empty_folder() -> None:
    async with bench_of(setting_of("f", is_shared=True)) as bench:
        kernel = kernel_of(bench)
        await kernel.walk(at("d", "f"))
        bench.workspace.empty_root()
        for _ in range(3):
            bench.clock.step(601)
            assert await kernel.list_folder(VOLUME) == []


async def test_a_lookup_whose_caller_was_interrupted_leaves_nothing() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(VOLUME)

        async def hang(_: Call) -> None:
            await trio.sleep_forever()

        bench.workspace.before_reply = hang
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.filesystem.lookup, ADA, folder.ino, b"d")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        bench.workspace.before_reply = None
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1
