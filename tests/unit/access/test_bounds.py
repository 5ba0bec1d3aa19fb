"""What is remembered of answers is bounded, and what falls out of it harms nobody."""

from __future__ import annotations

import pytest

from fuse4dbricks.cache.standings import MAX_REFUSALS, Standings
from fuse4dbricks.errors import InvalidToken, PermissionDenied
from fuse4dbricks.tokens import Principal, Token, Viewer
from tests.support.benches import Setting, bench_of, sign_in
from tests.support.fakes import ADA, EVE, VOLUME, at, workspace_with


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
