"""Who asks, and may he read: as an attacker with a second local uid sees it, and as a false denial would look."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.cache.connectivity import HOLD_SECONDS
from fuse4dbricks.cache.standings import MAX_REFUSALS, REFUSAL_SECONDS, Standings
from fuse4dbricks.errors import (
    InvalidToken,
    NotFound,
    NoToken,
    PermissionDenied,
    ProtocolViolation,
    ServerFailure,
    Unreachable,
)
from fuse4dbricks.tokens import Principal, Token, Viewer
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import (
    ADA,
    BOB,
    EVE,
    PERMISSION_TTL,
    VOLUME,
    Call,
    at,
    principal_of,
    token_of,
    workspace_with,
)

OFFLINE_GRACE = 8 * 3600.0


async def sign_in(bench: Bench, uid: int, name: str) -> Viewer:
    bench.written.set(uid, token_of(name))
    return await bench.access.resolve_viewer(uid)


# --- who asks ------------------------------------------------------------------------------------


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


# --- proofs --------------------------------------------------------------------------------------


async def test_a_proof_is_made_once_and_then_believed() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        assert not bench.access.get_grant(viewer, VOLUME), "knowing who he is proves nothing"
        for _ in range(5):
            await bench.access.require(viewer, VOLUME)
        assert bench.access.get_grant(viewer, VOLUME)
        assert bench.workspace.count("probe") == 1


async def test_probes_of_many_readers_are_one() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bench.access.require, viewer, VOLUME)
        assert bench.workspace.count("probe") == 1


async def test_a_refusal_is_believed_for_seconds_and_then_asked_again() -> None:
    workspace = workspace_with("ada", "eve")
    workspace.revoke("eve")
    async with bench_of(Setting(workspace)) as bench:
        viewer = await sign_in(bench, EVE, "eve")
        for _ in range(10):
            with pytest.raises(PermissionDenied):
                await bench.access.require(viewer, VOLUME)
        assert workspace.count("probe") == 1
        workspace.allow("eve")
        bench.clock.step(REFUSAL_SECONDS)
        await bench.access.require(viewer, VOLUME)


async def test_somebody_elses_grant_is_not_mine() -> None:
    workspace = workspace_with("ada", "eve")
    workspace.revoke("eve")
    async with bench_of(Setting(workspace)) as bench:
        ada, eve = await sign_in(bench, ADA, "ada"), await sign_in(bench, EVE, "eve")
        await bench.access.require(ada, VOLUME)
        assert not bench.access.get_grant(eve, VOLUME)
        with pytest.raises(PermissionDenied):
            await bench.access.require(eve, VOLUME)
        assert bench.access.get_grant(ada, VOLUME), "and her refusal is not ada's"


async def test_half_way_a_proof_is_renewed_and_the_reader_does_not_wait() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.clock.step(PERMISSION_TTL / 2)
        assert bench.access.get_grant(viewer, VOLUME)
        await wait_all_tasks_blocked()
        assert bench.workspace.count("probe") == 1
        bench.clock.step(1)
        for _ in range(10):
            assert bench.access.get_grant(viewer, VOLUME)
        await wait_all_tasks_blocked()
        assert bench.workspace.count("probe") == 2
        bench.clock.step(PERMISSION_TTL - 1)
        assert bench.access.get_grant(viewer, VOLUME), "counted from the renewal"


async def test_a_renewal_that_fails_is_not_repeated_by_every_read() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.clock.step(PERMISSION_TTL / 2 + 1)
        bench.workspace.down = ServerFailure("500", status=500)
        for _ in range(20):
            assert bench.access.get_grant(viewer, VOLUME)
            await wait_all_tasks_blocked()
        assert bench.workspace.count("probe") == 2


async def test_a_revocation_takes_effect_within_the_ttl_however_busy_the_reader() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.workspace.revoke("ada")
        elapsed = 0.0
        while bench.access.get_grant(viewer, VOLUME):
            await wait_all_tasks_blocked()
            bench.clock.step(1)
            elapsed += 1
        assert elapsed <= PERMISSION_TTL
        with pytest.raises(PermissionDenied):
            await bench.access.require(viewer, VOLUME)


async def test_a_refusal_on_any_call_ends_the_proof_at_once() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.access.note_error(viewer, at("f"), PermissionDenied("no", status=403))
        assert not bench.access.get_grant(viewer, VOLUME)


async def test_other_errors_end_no_proof() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        for error in (NotFound("x"), Unreachable("x"), ServerFailure("x"), ProtocolViolation("x")):
            bench.access.note_error(viewer, at("f"), error)
            assert bench.access.get_grant(viewer, VOLUME)


async def test_a_404_proves_nothing() -> None:
    """A deleted volume's cached files must not be open to whoever never could read it."""
    workspace = workspace_with("eve")
    async with bench_of(Setting(workspace)) as bench:
        viewer = await sign_in(bench, EVE, "eve")
        workspace.empty_root()
        with pytest.raises(NotFound):
            await bench.access.require(viewer, VOLUME)
        assert not bench.access.get_grant(viewer, VOLUME)


async def test_nobody_joins_the_probe_of_another_token() -> None:
    """Two tokens of one principal: the revoked one does not ride on the other's flight."""
    workspace = workspace_with("ada")
    workspace.people[Token("second")] = principal_of("ada")
    async with bench_of(Setting(workspace)) as bench:
        first = await sign_in(bench, ADA, "ada")
        bench.written.set(BOB, Token("second"))
        second = await bench.access.resolve_viewer(BOB)
        del workspace.people[Token("second")]
        release = trio.Event()

        async def hold(call: Call) -> None:
            if call.kind == "probe":
                await release.wait()

        workspace.before_reply = hold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.access.require, first, VOLUME)

            async def be_refused() -> None:
                with pytest.raises(InvalidToken):
                    await bench.access.require(second, VOLUME)

            nursery.start_soon(be_refused)
            await wait_all_tasks_blocked()
            release.set()


async def test_two_tokens_of_one_principal_do_not_vouch_for_each_other() -> None:
    workspace = workspace_with("ada")
    workspace.people[Token("second")] = principal_of("ada")
    async with bench_of(Setting(workspace)) as bench:
        first = await sign_in(bench, ADA, "ada")
        bench.written.set(BOB, Token("second"))
        second = await bench.access.resolve_viewer(BOB)
        await bench.access.require(first, VOLUME)
        assert not bench.access.get_grant(second, VOLUME), "it may be good for less"
        await bench.access.require(second, VOLUME)
        del workspace.people[Token("second")]
        for _ in range(3):
            bench.clock.step(PERMISSION_TTL / 3)
            bench.access.note_proof(first, VOLUME, bench.access.get_second())
        assert bench.access.get_grant(first, VOLUME)
        assert not bench.access.get_grant(second, VOLUME)
        with pytest.raises(InvalidToken):
            await bench.access.require(second, VOLUME)


async def test_a_revoked_token_is_not_taken_for_good_again_after_a_while() -> None:
    """What a principal saw of catalogs is cached for minutes; a token that was refused must not show it."""
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        await bench.access.require(viewer, VOLUME)
        bench.workspace.people.clear()
        bench.access.note_error(viewer, VOLUME, InvalidToken("403"))
        for _ in range(3):
            assert bench.access.get_viewer(ADA) is None
            assert not bench.access.get_grant(viewer, VOLUME)
            assert not await bench.access.has_valid_token(ADA)
            bench.clock.step(REFUSAL_SECONDS)


async def test_what_overtakes_does_not_undo_what_was_asked_later() -> None:
    """A slow yes to a question of before the revocation comes in after the no."""
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")
        early = bench.access.get_second()
        bench.clock.step(1)
        late = bench.access.get_second()
        bench.access.note_error(viewer, VOLUME, PermissionDenied("no"), late)
        bench.access.note_proof(viewer, VOLUME, early)
        assert not bench.access.get_grant(viewer, VOLUME)
        bench.clock.step(1)
        now = bench.access.get_second()
        bench.access.note_proof(viewer, VOLUME, now)
        bench.access.note_error(viewer, VOLUME, PermissionDenied("no"), late)
        assert bench.access.get_grant(viewer, VOLUME)


async def test_a_proof_is_as_old_as_its_question() -> None:
    """The service let him in when it was asked, however long the answer took."""
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        viewer = await sign_in(bench, ADA, "ada")

        async def take_long(call: Call) -> None:
            bench.clock.step(PERMISSION_TTL - 1)

        bench.workspace.before_reply = take_long
        await bench.access.require(viewer, VOLUME)
        bench.workspace.before_reply = None
        assert bench.access.get_grant(viewer, VOLUME)
        bench.clock.step(1)
        assert not bench.access.get_grant(viewer, VOLUME)


async def test_every_source_has_its_turn() -> None:
    """The third token is tried when the first two are refused."""
    spare = WrittenTokens()
    spare.set(ADA, Token("made-up"))
    setting = Setting(workspace_with("ada"), environment_token=token_of("ada"), sources=[spare])
    async with bench_of(setting) as bench:
        bench.written.set(ADA, Token("expired"))
        assert (await bench.access.resolve_viewer(ADA)).token == token_of("ada")
        bench.workspace.people.clear()
        bench.clock.step(REFUSAL_SECONDS)
        bench.access.note_error(await bench.access.resolve_viewer(ADA), VOLUME, InvalidToken("403"))
        with pytest.raises(InvalidToken):
            await bench.access.resolve_viewer(ADA)


# --- outages -------------------------------------------------------------------------------------


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


# --- from one mount to the next ------------------------------------------------------------------


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


# --- bounds --------------------------------------------------------------------------------------


async def test_made_up_tokens_and_volumes_push_out_nobodys_proof() -> None:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        ada = await sign_in(bench, ADA, "ada")
        await bench.access.require(ada, VOLUME)
        eve = Viewer(EVE, Principal("eve", "eve"), Token("eve"))
        for number in range(MAX_REFUSALS + 10):
            path = at(f"f{number}").parent.parent.child(f"v{number}")
            bench.access.note_error(eve, path, PermissionDenied("no"))
            bench.access.note_error(Viewer(EVE, eve.principal, Token(f"t{number}")), path, InvalidToken("no"))
        assert bench.access.get_grant(ada, VOLUME)
        assert bench.access.get_viewer(ADA) == ada


async def test_a_stored_refusal_keeps_no_frames_and_grows_no_traceback() -> None:
    async with bench_of(Setting(workspace_with("eve"))) as bench:
        bench.workspace.revoke("eve")
        viewer = await sign_in(bench, EVE, "eve")
        depths = []
        for _ in range(5):
            with pytest.raises(PermissionDenied) as info:
                await bench.access.require(viewer, VOLUME)
            depths.append(depth_of(info.value))
        assert depths[1:] == [depths[1]] * 4


def depth_of(error: BaseException | None) -> int:
    """Frames of an error and of its causes."""
    depth = 0
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        error = error.__cause__ or error.__context__
    return depth


async def test_standings_forget_the_oldest_refusal_first() -> None:
    async with bench_of(Setting(workspace_with())) as bench:
        standings: Standings[int] = Standings(bench.clock, max_proofs=2)
        standings.prove(-1, 0.0)
        for number in range(MAX_REFUSALS + 1):
            standings.refuse(number, PermissionDenied("no"))
        assert not standings.was_refused(0)
        assert standings.was_refused(1)
        assert standings.get_proof(-1) is not None
        standings.prove(-2, 0.0)
        standings.prove(-3, 0.0)
        assert standings.get_proof(-1) is None
