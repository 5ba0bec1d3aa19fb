"""Whose token it is: asked about once, refused for a while, replaced."""

from __future__ import annotations

import pytest
import trio

from fuse4dbricks.cache.connectivity import HOLD_SECONDS
from fuse4dbricks.cache.standings import REFUSAL_SECONDS
from fuse4dbricks.errors import InvalidToken, NoToken, PermissionDenied, Unreachable
from fuse4dbricks.tokens import Token, Viewer
from tests.support.benches import Setting, bench_of, sign_in
from tests.support.fakes import ADA, EVE, VOLUME, principal_of, token_of, workspace_with


async def test_a_token_is_asked_about_once() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        assert viewer == Viewer(ADA, principal_of("ada"), token_of("ada"))
        assert bench.access.get_viewer(ADA) == viewer
        assert await bench.access.resolve_viewer(ADA) == viewer
        assert bench.workspace.count("identity") == 1


async def test_many_at_once_ask_once() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        bench.written.set(ADA, token_of("ada"))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bench.access.resolve_viewer, ADA)
        assert bench.workspace.count() == 1


async def test_without_a_token_nobody_is_asked() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        await sign_in(bench, ADA, "ada")
        with pytest.raises(NoToken):
            await bench.access.resolve_viewer(EVE)
        assert bench.access.get_viewer(EVE) is None
        assert not await bench.access.has_valid_token(EVE)


async def test_an_invalid_token_is_refused_and_for_a_while_not_asked_about() -> None:
    async with bench_of(Setting(workspace_with())) as bench:
        bench.written.set(EVE, Token("made-up"))
        for _ in range(10):
            with pytest.raises(InvalidToken):
                await bench.access.resolve_viewer(EVE)
        assert not await bench.access.has_valid_token(EVE)
        assert bench.workspace.count() == 1
        bench.clock.step(REFUSAL_SECONDS)
        with pytest.raises(InvalidToken):
            await bench.access.resolve_viewer(EVE)
        assert bench.workspace.count() == 2


async def test_a_token_that_becomes_valid_is_taken_soon() -> None:
    async with bench_of(Setting(workspace_with())) as bench:
        with pytest.raises(InvalidToken):
            await sign_in(bench, ADA, "ada")
        bench.workspace.people[token_of("ada")] = principal_of("ada")
        bench.clock.step(REFUSAL_SECONDS)
        assert (await bench.access.resolve_viewer(ADA)).principal == principal_of("ada")


async def test_a_refused_written_token_falls_back_to_the_environment() -> None:
    setting = Setting(workspace_with("ada"), environment_token=token_of("ada"))
    async with bench_of(setting) as bench:
        bench.written.set(ADA, Token("expired"))
        assert (await bench.access.resolve_viewer(ADA)).token == token_of("ada")


async def test_a_new_token_is_a_new_person() -> None:
    workspace = workspace_with("ada", "bob")
    workspace.revoke("bob")
    async with bench_of(Setting(workspace)) as bench:
        ada = await sign_in(bench, ADA, "ada")
        await bench.access.require(ada, VOLUME)
        bob = await sign_in(bench, ADA, "bob")
        assert bob.principal == principal_of("bob")
        assert not bench.access.get_grant(bob, VOLUME)
        with pytest.raises(PermissionDenied):
            await bench.access.require(bob, VOLUME)


async def test_an_outage_refuses_no_token() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        bench.workspace.down = Unreachable("no route")
        bench.written.set(ADA, token_of("ada"))
        assert await bench.access.has_valid_token(ADA)
        with pytest.raises(Unreachable):
            await bench.access.resolve_viewer(ADA)
        assert bench.workspace.count() == 1, "while it is known to be down nobody waits for it again"
        bench.workspace.down = None
        bench.clock.step(HOLD_SECONDS)
        assert (await bench.access.resolve_viewer(ADA)).principal == principal_of("ada")
