"""What of the proofs is good in the next mount."""

from __future__ import annotations

import pytest

from fuse4dbricks.errors import InvalidToken, PermissionDenied, Unreachable
from fuse4dbricks.tokens import Token
from tests.support.benches import OFFLINE_GRACE, Setting, bench_of, sign_in
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import ADA, EVE, PERMISSION_TTL, VOLUME, at, principal_of, token_of, workspace_with


async def proved_once(setting: Setting) -> None:
    """A first mount, in which ada read the volume."""
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
    setting.workspace.calls.clear()


def restartable() -> Setting:
    return Setting(workspace_with("ada"), tree=FakeTree(), grants=FakeGrants())


async def test_a_proof_outlives_the_mount() -> None:
    setting = restartable()
    await proved_once(setting)
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        assert setting.workspace.count() == 0
        bench.clock.step(PERMISSION_TTL)
        assert not bench.access.get_grant(viewer, VOLUME), "it has the age that it has"


async def test_a_stored_proof_is_good_for_the_grace_of_an_outage_only() -> None:
    setting = restartable()
    await proved_once(setting)
    setting.clock.step(PERMISSION_TTL + 60)
    setting.workspace.down = Unreachable("no route")
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.clock.step(OFFLINE_GRACE)
        with pytest.raises(Unreachable):
            await bench.access.require(viewer, VOLUME)


async def test_a_stored_proof_is_void_when_the_clock_stands_before_it() -> None:
    setting = restartable()
    await proved_once(setting)
    setting.clock.wall_at -= 3600
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        assert not bench.access.get_grant(viewer, VOLUME)


async def test_a_stored_proof_by_one_token_does_not_vouch_for_another() -> None:
    """A token that leaked and was replaced: it is of the same principal, known from before, and refused since."""
    setting = restartable()
    setting.workspace.people[Token("leaked")] = principal_of("ada")
    async with bench_of(setting) as bench:
        bench.written.set(EVE, Token("leaked"))
        await bench.access.resolve_viewer(EVE)
    await proved_once(setting)
    del setting.workspace.people[Token("leaked")]
    async with bench_of(setting) as bench:
        bench.written.set(EVE, Token("leaked"))
        viewer = await bench.access.resolve_viewer(EVE)
        assert not bench.access.get_grant(viewer, VOLUME)
        with pytest.raises(InvalidToken):
            await bench.access.require(viewer, VOLUME)
        assert await bench.access.has_valid_token(EVE) is False


async def test_a_refusal_is_remembered_by_the_index() -> None:
    setting = restartable()
    await proved_once(setting)
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        bench.access.note_error(viewer, VOLUME, PermissionDenied("no"))
    async with bench_of(setting) as bench:
        assert not bench.access.get_grant(await sign_in(bench, ADA, "ada"), VOLUME)


async def test_an_invalid_token_is_forgotten_by_the_index() -> None:
    setting = restartable()
    await proved_once(setting)
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        bench.access.note_error(viewer, VOLUME, InvalidToken("no"))
    assert setting.grants is not None
    assert not setting.grants.proofs
    assert not setting.grants.principals


async def test_a_walk_of_a_thousand_answers_is_one_proof_for_the_index() -> None:
    setting = restartable()
    assert setting.grants is not None
    async with bench_of(setting) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        for _ in range(1000):
            bench.access.note_proof(viewer, at("d"), bench.access.get_second())
            bench.clock.step(0.01)
        once = setting.grants.posts["grant"]
        assert once <= 5, "the volume, and what it lies in"
        bench.clock.step(PERMISSION_TTL / 2)
        bench.access.note_proof(viewer, at("d"), bench.access.get_second())
        assert setting.grants.posts["grant"] == 2 * once


async def test_no_token_is_stored() -> None:
    setting = restartable()
    await proved_once(setting)
    assert setting.grants is not None
    assert token_of("ada").reveal() not in repr((setting.grants.proofs, setting.grants.principals))
