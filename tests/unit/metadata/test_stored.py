"""What the metadata cache takes from the index: after a restart, from a busy one, and from a damaged one."""

from __future__ import annotations

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.cache.shelf import PAGE_ENTRIES
from fuse4dbricks.errors import Unreachable
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import at
from tests.support.metadata import ADA_VIEW, MAIN, TTLS, entry_of, is_absent, names_of, workspace_of


async def test_a_restarted_mount_answers_from_the_index() -> None:
    setting = Setting(workspace_of("a", "b"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
        await names_of(bench, MAIN)
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == ["a", "b"]
        assert await names_of(bench, MAIN) == ["default"]
        await entry_of(bench, at("d", "a"))
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "b"))
        assert bench.metrics.get("metadata.hits", layer="index") == 1
    assert setting.workspace.count() == 0


async def test_what_is_stored_under_a_longer_ttl_is_believed_for_the_present_one() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree(), ttls=Ttls(inner=3600))
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.ttls = Ttls(inner=10)
    setting.clock.step(20)
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "a"))
        await names_of(bench, at("d"))
    assert setting.workspace.count() == 1


async def test_what_was_stored_in_the_future_is_stale() -> None:
    setting = Setting(workspace_of("a"), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.clock.wall_at -= 3600
    async with bench_of(setting) as bench:
        await entry_of(bench, at("d", "a"))
    assert setting.workspace.count() == 2


async def test_a_long_folder_is_read_back_in_pages_and_known_to_be_long() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    setting = Setting(workspace_of(*names), tree=FakeTree())
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    setting.workspace.calls.clear()
    async with bench_of(setting) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        assert len(listing) == PAGE_ENTRIES
        assert await names_of(bench, at("d")) == names
        assert await is_absent(bench, at("d", "none"))
        assert setting.workspace.count("listing") == 0, "the whole listing says so"


async def test_an_index_that_is_busy_half_way_ends_no_listing() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    tree = FakeTree()
    setting = Setting(workspace_of(*names), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    async with bench_of(setting) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        tree.is_busy = True
        while not listing.is_complete:
            await bench.metadata.listings.extend(ADA_VIEW, listing)
        assert [entry.name for entry in listing.entries] == names
    tree.is_busy = False
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == names, "the index lost nothing by it"


async def test_a_stored_listing_that_lost_a_row_is_not_taken_for_a_shorter_one() -> None:
    names = [f"f{number:05}" for number in range(PAGE_ENTRIES + 10)]
    tree = FakeTree()
    setting = Setting(workspace_of(*names), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    for lost in (names[3], names[-3]):
        tree.lose(at("d", lost))
        async with bench_of(setting) as bench:
            assert sorted(await names_of(bench, at("d"))) == names, "what was read keeps its place"


async def test_an_index_that_is_busy_at_once_is_a_miss() -> None:
    tree = FakeTree()
    setting = Setting(workspace_of("a"), tree=tree)
    async with bench_of(setting) as bench:
        await names_of(bench, at("d"))
    tree.is_busy = True
    async with bench_of(setting) as bench:
        assert await names_of(bench, at("d")) == ["a"]
        bench.clock.step(TTLS.inner)
        setting.workspace.down = Unreachable("no route")
        assert await names_of(bench, at("d")) == ["a"]
