"""What was marked stale, or is told in two ways, is asked for again, and the newer answer counts."""

from __future__ import annotations

import pytest

from fuse4dbricks.entry import Version
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import MODIFIED, at
from tests.support.metadata import ADA_VIEW, TTLS, entry_of, is_absent, names_of, workspace_of


@pytest.mark.parametrize("is_lagging", [False, True], ids=["committed", "index-lags"])
async def test_what_was_marked_stale_is_asked_for_alone(*, is_lagging: bool) -> None:
    tree = FakeTree()
    async with bench_of(Setting(workspace_of("a", "b"), tree=tree)) as bench:
        old = await entry_of(bench, at("d", "a"))
        tree.is_lagging = is_lagging
        bench.workspace.put(at("d", "a"), size=9)
        bench.metadata.mark_stale(at("d", "a"), old.version)
        assert bench.metadata.get_entry(ADA_VIEW, at("d", "a")) is None
        assert (await entry_of(bench, at("d", "a"))).size == 9
        assert (await entry_of(bench, at("d", "b"))).size == 5
        assert [call.kind for call in bench.workspace.calls] == ["listing", "head"]


async def test_a_handle_on_an_old_version_does_not_mark_the_new_one() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        for _ in range(5):
            bench.metadata.mark_stale(at("d", "a"), Version(4, MODIFIED - 1))
            await entry_of(bench, at("d", "a"))
        assert bench.workspace.count() == 1


async def test_what_was_marked_stale_is_known_after_a_new_listing() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        old = await entry_of(bench, at("d", "a"))
        bench.metadata.mark_stale(at("d", "a"), old.version)
        bench.clock.step(TTLS.inner)
        await names_of(bench, at("d"))
        await entry_of(bench, at("d", "a"))
        assert [call.kind for call in bench.workspace.calls] == ["listing", "listing"]


async def test_marking_what_is_not_known_is_nothing() -> None:
    async with bench_of(Setting(workspace_of("a"), tree=FakeTree())) as bench:
        bench.metadata.mark_stale(at("d", "a"))
        await entry_of(bench, at("d", "a"))


async def test_the_newer_of_a_listing_and_a_single_answer_counts() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        assert (await entry_of(bench, at("d", "f2"))).size == 5
        bench.clock.step(1)
        workspace.page_size = 1000
        workspace.put(at("d", "f2"), size=7)
        await bench.metadata.listings.refetch(ADA_VIEW, at("d"))
        assert (await entry_of(bench, at("d", "f2"))).size == 7, "listed after the HEAD"
        bench.clock.step(1)
        workspace.remove(at("d", "f2"))
        await bench.metadata.listings.refetch(ADA_VIEW, at("d"))
        assert await is_absent(bench, at("d", "f2"))


async def test_an_etag_of_a_head_outlives_a_listing_without() -> None:
    workspace = workspace_of("f0", "f1")
    workspace.put(at("d", "f2"), etag='"e"')
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        tagged = await entry_of(bench, at("d", "f2"))
        bench.clock.step(TTLS.inner)
        workspace.put(at("d", "f2"))
        assert await names_of(bench, at("d")) == ["f0", "f1", "f2"]
        assert (await entry_of(bench, at("d", "f2"))).version == tagged.version
