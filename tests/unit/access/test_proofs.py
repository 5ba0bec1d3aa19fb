"""May he read: as an attacker with a second local uid sees it, and as a false denial would look."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.cache.standings import REFUSAL_SECONDS
from fuse4dbricks.errors import (
    InvalidToken,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    ServerFailure,
    Unreachable,
)
from fuse4dbricks.tokens import Token
from tests.support.benches import Setting, bench_of, sign_in
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
