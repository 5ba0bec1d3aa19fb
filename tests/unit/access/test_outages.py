"""What a proof is worth while nobody can be asked."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.access import PROBE_PATIENCE
from fuse4dbricks.cache.connectivity import HOLD_SECONDS
from fuse4dbricks.cache.standings import REFUSAL_SECONDS
from fuse4dbricks.errors import PermissionDenied, Unreachable
from tests.support.benches import OFFLINE_GRACE, Setting, bench_of, sign_in
from tests.support.fake_index import FakeGrants
from tests.support.fakes import ADA, EVE, PERMISSION_TTL, VOLUME, Call, workspace_with


async def test_an_outage_is_no_denial_within_the_grace_and_no_grant_after_it() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(PERMISSION_TTL + OFFLINE_GRACE - 1)
        await bench.access.require(viewer, VOLUME)
        await bench.access.require(viewer, VOLUME)
        assert bench.workspace.count("probe") == 2, "while it is known to be down nobody asks"
        bench.clock.step(1)
        with pytest.raises(Unreachable):
            await bench.access.require(viewer, VOLUME)


async def test_an_outage_opens_nothing_that_was_not_open() -> None:
    workspace = workspace_with("ada", "eve")
    async with bench_of(Setting(workspace)) as bench:
        ada, eve = await sign_in(bench, ADA, "ada"), await sign_in(bench, EVE, "eve")
        await bench.access.require(ada, VOLUME)
        workspace.down = Unreachable("no route")
        bench.clock.step(PERMISSION_TTL)
        await bench.access.require(ada, VOLUME)
        with pytest.raises(Unreachable):
            await bench.access.require(eve, VOLUME)


async def test_a_refusal_before_the_outage_outlives_it() -> None:
    async with bench_of(Setting(workspace_with("ada"), grants=FakeGrants())) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.access.note_error(viewer, VOLUME, PermissionDenied("no"))
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(REFUSAL_SECONDS)
        with pytest.raises(Unreachable):
            await bench.access.require(viewer, VOLUME)


async def test_an_outage_that_is_only_remembered_does_not_prolong_itself() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        bench.workspace.down = Unreachable("no route")
        with pytest.raises(Unreachable):
            await bench.access.require(viewer, VOLUME)
        bench.workspace.down = None
        for _ in range(int(HOLD_SECONDS)):
            with pytest.raises(Unreachable) as info:
                await bench.access.require(viewer, VOLUME)
            bench.access.note_error(viewer, VOLUME, info.value)
            bench.clock.step(1)
        await bench.access.require(viewer, VOLUME)


async def test_who_was_let_in_before_waits_less_each_time_for_a_silent_workspace(
    autojump_clock: MockClock,
) -> None:
    workspace = workspace_with("ada")
    async with bench_of(Setting(workspace)) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.clock.step(PERMISSION_TTL)

        async def hang(_: Call) -> None:
            await trio.sleep_forever()

        workspace.before_reply = hang
        began = trio.current_time()
        for _ in range(20):
            await bench.access.require(viewer, VOLUME)
            bench.clock.step(HOLD_SECONDS)
        assert trio.current_time() - began < 2 * PROBE_PATIENCE
