"""What the metadata cache asks the workspace: few calls, each once."""

from __future__ import annotations

import trio

from fuse4dbricks.entry import Kind, Version
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import MODIFIED, at
from tests.support.metadata import ADA_VIEW, MAIN, TTLS, entry_of, is_absent, names_of, workspace_of


async def test_a_name_in_an_unknown_folder_costs_one_listing_and_its_siblings_nothing() -> None:
    async with bench_of(Setting(workspace_of("a", "b", "c"))) as bench:
        for name in ("a", "b", "c", "a"):
            assert (await entry_of(bench, at("d", name))).version == Version(5, MODIFIED)
        assert [call.kind for call in bench.workspace.calls] == ["listing"]
        assert bench.metrics.get("metadata.hits", layer="ram") == 3


async def test_concurrent_lookups_share_one_call() -> None:
    async with bench_of(Setting(workspace_of("a", "b"))) as bench:
        async with trio.open_nursery() as nursery:
            for name in ("a", "b") * 10:
                nursery.start_soon(bench.metadata.resolve_entry, ADA_VIEW, at("d", name))
        assert bench.workspace.count() == 1


async def test_a_missing_name_costs_one_call_and_is_then_believed_for_the_negative_ttl() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        for _ in range(3):
            assert await is_absent(bench, at("d", "none"))
        assert await is_absent(bench, at("d", "nor this")), "the same listing says so"
        assert bench.workspace.count() == 1
        bench.clock.step(TTLS.negative)
        bench.workspace.put(at("d", "none"))
        assert not await is_absent(bench, at("d", "none"))
        assert bench.workspace.count() == 2


async def test_a_listing_says_what_is_there_for_longer_than_what_is_not() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.negative + 1)
        bench.workspace.put(at("d", "new"))
        await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1
        await entry_of(bench, at("d", "new"))
        assert bench.workspace.count() == 2


async def test_a_restarted_mount_believes_no_absence_for_longer_either() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.clock.step(TTLS.negative + 1)
    setting.workspace.put(at("d", "new"))
    async with bench_of(setting) as bench:
        assert not await is_absent(bench, at("d", "new"))


async def test_in_a_folder_of_many_pages_a_name_is_asked_for_alone() -> None:
    workspace = workspace_of(*(f"f{number}" for number in range(5)))
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        await entry_of(bench, at("d", "f4"))
        assert [call.kind for call in workspace.calls] == ["listing", "head"]
        await entry_of(bench, at("d", "f3"))
        assert [call.kind for call in workspace.calls] == ["listing", "head", "head"]
        await entry_of(bench, at("d", "f0"))
        assert workspace.count() == 3, "it was on the page that was read"
        assert await is_absent(bench, at("d", "none"))
        assert workspace.count("head") == 4, "neither a file nor a folder"


async def test_a_folder_in_a_folder_of_many_pages_is_asked_for_as_what_it_was() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.make_folder(at("d", "z"))
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        assert (await entry_of(bench, at("d", "z"))).kind is Kind.DIRECTORY
        assert workspace.count("head") == 2
        bench.clock.step(TTLS.inner)
        assert (await entry_of(bench, at("d", "z"))).kind is Kind.DIRECTORY
        assert workspace.count("head") <= 3


async def test_what_is_stale_costs_one_call() -> None:
    async with bench_of(Setting(workspace_of("a", "b"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner - 0.1)
        await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1
        bench.clock.step(0.1)
        bench.workspace.put(at("d", "a"), size=9)
        assert (await entry_of(bench, at("d", "a"))).size == 9
        await entry_of(bench, at("d", "b"))
        assert bench.workspace.count() == 2


async def test_a_listing_of_n_names_costs_its_pages_and_no_head() -> None:
    workspace = workspace_of(*(f"f{number:04}" for number in range(2500)))
    async with bench_of(Setting(workspace)) as bench:
        assert len(await names_of(bench, at("d"))) == 2500
        assert [call.kind for call in workspace.calls] == ["listing"] * 3


async def test_a_name_that_no_securable_has_is_not_asked_for() -> None:
    async with bench_of(Setting(workspace_of())) as bench:
        for name in (".git", "a b", "x\n", "autorun.inf"):
            assert await is_absent(bench, MAIN.parent.child(name))
        assert bench.workspace.count() == 0


async def test_a_file_listed_without_size_or_time_gets_a_head() -> None:
    workspace = workspace_of("a")
    workspace.unsized.add(at("d", "a"))
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        assert (await entry_of(bench, at("d", "a"))).version == Version(5, MODIFIED)
        assert [call.kind for call in workspace.calls] == ["listing", "head"]
        await entry_of(bench, at("d", "a"))
        assert workspace.count() == 2


async def test_a_folder_that_is_gone_is_remembered_as_absent() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        for _ in range(3):
            assert await is_absent(bench, at("gone", "f"))
        assert bench.workspace.count() == 1


async def test_a_clock_that_goes_back_makes_no_storm_of_calls() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.clock.wall_at -= 3600
        for _ in range(10):
            await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 2
