"""The metadata cache's RAM is bounded, and its answers stay right."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import Unreachable
from tests.support.benches import Setting, bench_of
from tests.support.fakes import at, workspace_with
from tests.support.metadata import ADA_VIEW, is_absent, names_of, workspace_of


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=40))
def test_ram_is_bounded_in_entries_and_every_answer_right(steps: list[tuple[int, int]]) -> None:
    limit = 40

    async def main() -> None:
        workspace = workspace_with("ada")
        workspace.page_size = 10
        for folder in range(10):
            for number in range(folder * 3):
                workspace.put(at(f"d{folder}", f"f{number:02}"), size=folder)
        async with bench_of(Setting(workspace, max_entries=limit)) as bench:
            for folder, number in steps:
                path = at(f"d{folder}", f"f{number:02}")
                assert await is_absent(bench, path) is (number >= folder * 3)
                assert bench.metadata.entries_in_ram <= limit
                if number % 7 == 0 and folder:
                    assert len(await names_of(bench, at(f"d{folder}"))) == folder * 3
                    assert bench.metadata.entries_in_ram <= limit

    trio.run(main)


async def test_a_listing_larger_than_ram_is_still_read_whole() -> None:
    names = [f"f{number:03}" for number in range(100)]
    workspace = workspace_of(*names)
    workspace.page_size = 10
    async with bench_of(Setting(workspace, max_entries=30)) as bench:
        assert await names_of(bench, at("d")) == names
        assert bench.metadata.entries_in_ram <= 30


async def test_reading_ahead_is_one_flight_and_its_failure_harms_nobody() -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.page_size = 1
    async with bench_of(Setting(workspace)) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        workspace.fail("listing", Unreachable("no route"))
        bench.metadata.listings.extend_ahead(ADA_VIEW, listing)
        await wait_all_tasks_blocked()
        assert bench.metrics.get("tasks.failed") == 0
        bench.clock.step(5)
        for _ in range(3):
            bench.metadata.listings.extend_ahead(ADA_VIEW, listing)
        await bench.metadata.listings.extend(ADA_VIEW, listing)
        assert listing.pages == 2
