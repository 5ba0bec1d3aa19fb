"""What the metadata cache says while the workspace cannot be reached."""

from __future__ import annotations

import pytest

from fuse4dbricks.errors import PermissionDenied, Unreachable
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import at
from tests.support.metadata import ADA_VIEW, TTLS, entry_of, is_absent, names_of, workspace_of


async def test_an_outage_serves_what_is_known_and_reports_what_is_not() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await names_of(bench, at("d"))
        bench.clock.step(TTLS.boundary)
        bench.workspace.down = Unreachable("no route")
        known = await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))
        assert known.entry is not None
        assert 0 < bench.metadata.freshness_left(known) <= 5
        assert await names_of(bench, at("d")) == ["a"]
        assert bench.workspace.count() == 2, "one of them noticed"
        with pytest.raises(Unreachable):
            await names_of(bench, at("other"))


async def test_an_outage_never_says_that_there_is_no_such_file() -> None:
    async with bench_of(Setting(workspace_of("a"), tree=FakeTree())) as bench:
        assert await is_absent(bench, at("d", "none"))
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(TTLS.negative)
        with pytest.raises(Unreachable):
            await bench.metadata.resolve_entry(ADA_VIEW, at("d", "none"))


async def test_a_refusal_is_no_outage() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.workspace.revoke("ada")
        with pytest.raises(PermissionDenied):
            await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))


async def test_after_the_outage_all_is_asked_again() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        bench.clock.step(TTLS.inner)
        bench.workspace.down = Unreachable("no route")
        await entry_of(bench, at("d", "a"))
        bench.workspace.down = None
        bench.workspace.put(at("d", "a"), size=9)
        bench.clock.step(5)
        assert (await entry_of(bench, at("d", "a"))).size == 9
