"""A walk is listed ahead of; nobody else costs a call more than he asks for."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.ahead.ahead import Ahead
from fuse4dbricks.cache.ahead.listings import PATIENCE_SECONDS, ListingsAhead
from fuse4dbricks.cache.ahead.runs import WIDEST
from fuse4dbricks.errors import PermissionDenied
from fuse4dbricks.paths import RemotePath
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, Call, at, token_of, workspace_with
from tests.support.kernel import Kernel

WIDTH, DEPTH = 6, 3


def _grow(setting: Setting, folder: RemotePath, depth: int) -> int:
    """A tree of folders with a file in each; returns how many folders it has."""
    setting.workspace.make_folder(folder)
    setting.workspace.put(folder.child("a-file"))
    if not depth:
        return 1
    return 1 + sum(_grow(setting, folder.child(f"d{n}"), depth - 1) for n in range(WIDTH))


def _look_ahead(bench: Bench, max_entries: int = 20_000) -> ListingsAhead:
    ahead = ListingsAhead(
        listings=bench.metadata.listings,
        may_read=bench.access.get_grant,
        connectivity=bench.connectivity,
        supervisor=bench.supervisor,
        metrics=bench.metrics,
        clock=bench.clock,
        max_entries=max_entries,
    )
    bench.filesystem.ahead = Ahead(listings=ahead)
    return ahead


def _kernel_of(bench: Bench, uid: int = ADA, name: str = "ada") -> Kernel:
    bench.written.set(uid, token_of(name))
    return Kernel(bench.filesystem, uid)


def _listed(bench: Bench) -> Counter[RemotePath]:
    return Counter(call.path for call in bench.workspace.calls if call.kind == "listing")


async def _walk(kernel: Kernel, folder: RemotePath, *, deepest: int = 100, backwards: bool = False) -> int:
    """Depth first, as ``find`` does; everything that can go on in between does. Returns the folders seen."""
    names = [name for name in await kernel.list_folder(folder) if name.startswith("d")]
    await wait_all_tasks_blocked()
    if not deepest:
        return 1
    seen = 1
    for name in sorted(names, reverse=backwards):
        seen += await _walk(kernel, folder.child(name), deepest=deepest - 1, backwards=backwards)
    return seen


async def _walk_by_level(kernel: Kernel, top: RemotePath) -> int:
    waiting, seen = [top], 0
    while waiting:
        folder = waiting.pop(0)
        names = await kernel.list_folder(folder)
        await wait_all_tasks_blocked()
        waiting += [folder.child(name) for name in sorted(names) if name.startswith("d")]
        seen += 1
    return seen


@pytest.mark.parametrize("way", ["down", "backwards", "by level"])
async def test_a_whole_walk_costs_a_call_for_each_folder_and_finds_most_of_them_listed(way: str) -> None:
    setting = Setting(workspace_with("ada"))
    folders = _grow(setting, at("top"), DEPTH)
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.walk(at("top"))
        before = _listed(bench)
        if way == "by level":
            assert await _walk_by_level(kernel, at("top")) == folders
        else:
            assert await _walk(kernel, at("top"), backwards=way == "backwards") == folders
        listed = _listed(bench) - before
        assert listed.total() == folders
        assert max(listed.values()) == 1
        used = bench.metrics.get("ahead.used", what="listing")
        assert used == bench.metrics.get("ahead.started", what="listing")
        assert used > folders * 0.8, "the walk waited for few of them"


async def test_one_folder_costs_one_call_however_many_folders_are_in_it() -> None:
    setting = Setting(workspace_with("ada"))
    _grow(setting, at("top"), DEPTH)
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.walk(at("top"))
        before = bench.workspace.count()
        await kernel.list_folder(at("top"))
        await kernel.list_folder(at("top"))
        await wait_all_tasks_blocked()
        assert bench.workspace.count() - before == 1


async def test_the_first_child_says_nothing_and_the_second_does() -> None:
    setting = Setting(workspace_with("ada"))
    for number in range(10):
        setting.workspace.make_folder(at("top", f"d{number}"))
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        await kernel.list_folder(at("top", "d3"))
        await wait_all_tasks_blocked()
        assert not bench.metrics.get("ahead.started")
        await kernel.list_folder(at("top", "d4"))
        await wait_all_tasks_blocked()
        assert {path.name for path in list(_listed(bench))[-4:]} == {"d5", "d6", "d7", "d8"}


async def test_who_lists_the_folders_of_a_folder_and_goes_no_deeper_costs_no_more() -> None:
    setting = Setting(workspace_with("ada"))
    _grow(setting, at("top"), DEPTH)
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        assert await _walk(kernel, at("top"), deepest=1) == 1 + WIDTH
        assert {path.depth for path in _listed(bench)} <= {3, 4, 5}
        assert bench.metrics.get("ahead.started", what="listing") == WIDTH - 2


async def test_folders_in_no_order_are_not_guessed_at() -> None:
    setting = Setting(workspace_with("ada"))
    for number in range(200):
        setting.workspace.make_folder(at("top", f"d{number:03}"))
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        for number in (7, 150, 90, 30, 180, 60, 120):
            await kernel.list_folder(at("top", f"d{number:03}"))
        await wait_all_tasks_blocked()
        assert not bench.metrics.get("ahead.started")


async def test_what_the_index_has_is_not_asked_for() -> None:
    setting = Setting(workspace_with("ada"), tree=FakeTree())
    folders = _grow(setting, at("top"), 2)
    async with bench_of(setting) as bench:
        assert await _walk(_kernel_of(bench), at("top")) == folders
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        before = bench.workspace.count("listing")
        assert await _walk(kernel, at("top")) == folders
        assert bench.workspace.count("listing") == before


async def test_never_more_than_the_bound_is_under_way_and_who_comes_joins() -> None:
    setting = Setting(workspace_with("ada"))
    for number in range(300):
        setting.workspace.make_folder(at("top", f"d{number:03}"))
    async with bench_of(setting) as bench:
        ahead = _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        for number in range(40):
            await kernel.list_folder(at("top", f"d{number:03}"))
            await wait_all_tasks_blocked()
            assert ahead.in_flight == 0
        gate = trio.Event()

        async def hold(call: Call) -> None:
            if call.kind == "listing":
                await gate.wait()

        bench.workspace.before_reply = hold
        for number in range(40, 39 + WIDEST):
            await kernel.list_folder(at("top", f"d{number:03}"))
        await wait_all_tasks_blocked()
        assert WIDEST / 2 < ahead.in_flight <= WIDEST
        async with trio.open_nursery() as nursery:
            for number in range(39 + WIDEST, 39 + 2 * WIDEST):
                nursery.start_soon(kernel.list_folder, at("top", f"d{number:03}"))
            await wait_all_tasks_blocked()
            assert ahead.in_flight <= WIDEST
            gate.set()
        await wait_all_tasks_blocked()
        assert max(_listed(bench).values()) == 1, "who came joined"
        assert ahead.in_flight == 0


async def test_what_nobody_comes_for_is_counted_and_asks_for_more_evidence() -> None:
    setting = Setting(workspace_with("ada"))
    for top in range(20):
        for number in range(20):
            setting.workspace.make_folder(at(f"top{top:02}", f"d{number:03}"))
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        kernel = _kernel_of(bench)
        started = []
        for top in range(0, 20, 3):
            # Two neighbours, and away.
            for name in ("", "d003", "d004"):
                await kernel.list_folder(at(f"top{top:02}", name) if name else at(f"top{top:02}"))
            await wait_all_tasks_blocked()
            started.append(bench.metrics.get("ahead.started"))
            bench.clock.step(PATIENCE_SECONDS + 1)
        assert started[0] == 4
        assert started[-1] == started[-3], "it has learnt"
        assert bench.metrics.get("ahead.wasted", what="listing") >= 4


async def test_nothing_is_listed_ahead_without_a_grant_that_holds() -> None:
    setting = Setting(workspace_with("ada"))
    for number in range(50):
        setting.workspace.make_folder(at("top", f"d{number:03}"))
    async with bench_of(setting) as bench:
        ahead = _look_ahead(bench)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        await kernel.list_folder(at("top", "d000"))
        viewer = await bench.access.resolve_viewer(ADA)
        bench.clock.step(PERMISSION_TTL + 1)
        before = bench.workspace.count()
        ahead.folder_opened(viewer, at("top", "d001"))
        await wait_all_tasks_blocked()
        assert bench.workspace.count() == before


async def test_what_was_listed_ahead_is_shown_to_nobody_else() -> None:
    setting = Setting(workspace_with("ada", "bob"), is_shared=True)
    setting.workspace.revoke("bob")
    for number in range(50):
        setting.workspace.make_folder(at("top", f"d{number:03}"))
    async with bench_of(setting) as bench:
        _look_ahead(bench)
        ada, bob = _kernel_of(bench), _kernel_of(bench, BOB, "bob")
        await ada.list_folder(at("top"))
        folders = [(await ada.walk(at("top", f"d{number:03}"))).ino for number in range(50)]
        for folder in folders[:5]:
            await ada.list_inode(folder)
        await wait_all_tasks_blocked()
        assert bench.metrics.get("ahead.started")
        for folder in folders[:12]:
            with pytest.raises(PermissionDenied):
                await bob.list_inode(folder)
        assert {call.token for call in bench.workspace.calls if call.kind == "listing"} == {
            token_of("ada").reveal()
        }


async def test_what_is_listed_ahead_leaves_room_for_what_is_in_use() -> None:
    setting = Setting(workspace_with("ada"), max_entries=1000)
    for number in range(40):
        for name in range(50):
            setting.workspace.put(at("top", f"d{number:03}", f"f{name}"))
    async with bench_of(setting) as bench:
        _look_ahead(bench, max_entries=1000)
        kernel = _kernel_of(bench)
        await kernel.list_folder(at("top"))
        for number in range(6):
            await kernel.list_folder(at("top", f"d{number:03}"))
            await wait_all_tasks_blocked()
        ahead = bench.metrics.get("ahead.started") - bench.metrics.get("ahead.used")
        assert 0 < ahead * 50 <= 1000 / 4 + WIDEST * 50
        assert bench.metadata.entries_in_ram <= 1000
