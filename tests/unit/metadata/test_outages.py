"""What the metadata cache says while the workspace cannot be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.cache.connectivity import PATIENCE_SECONDS
from fuse4dbricks.errors import NotTheService, PermissionDenied, ServerFailure, Throttled, Unreachable
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import Call, at
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


@pytest.mark.parametrize("failure", [NotTheService("302"), Throttled("429"), ServerFailure("500")])
async def test_who_answers_nothing_of_use_does_not_hide_what_is_known(failure: Exception) -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await names_of(bench, at("d"))
        bench.clock.step(TTLS.boundary)
        bench.workspace.before_reply = raising(failure)
        assert (await entry_of(bench, at("d", "a"))).size == 5
        assert await names_of(bench, at("d")) == ["a"]
        with pytest.raises(type(failure)):
            await names_of(bench, at("other"))


def raising(failure: Exception) -> Callable[[Call], Awaitable[None]]:
    async def fail(_: Call) -> None:
        raise failure

    return fail


async def test_silence_is_not_waited_for_where_something_is_known(autojump_clock: MockClock) -> None:
    async with bench_of(Setting(workspace_of("a", "b"))) as bench:
        await names_of(bench, at("d"))
        bench.clock.step(TTLS.boundary)
        answering = trio.Event()

        async def wait(_: Call) -> None:
            await answering.wait()

        bench.workspace.before_reply = wait
        began = trio.current_time()
        for _ in range(20):
            assert (await entry_of(bench, at("d", "a"))).size == 5
            assert await names_of(bench, at("d")) == ["a", "b"]
        assert trio.current_time() - began < 2 * PATIENCE_SECONDS
        # The question was not taken back, so a service that is only slow is heard in the end.
        bench.workspace.put(at("d", "a"), size=9)
        answering.set()
        await trio.sleep(0.001)
        assert (await entry_of(bench, at("d", "a"))).size == 9
