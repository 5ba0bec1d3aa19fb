"""For whom the metadata cache remembers what: what is shared, and what is each principal's own."""

from __future__ import annotations

import pytest
import trio

from fuse4dbricks.errors import InvalidToken, NotFound, PermissionDenied
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from tests.support.benches import Setting, bench_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import BOB, VOLUME, FakeWorkspace, at, principal_of, token_of
from tests.support.metadata import ADA_VIEW, BOB_VIEW, MAIN, TTLS, entry_of, is_absent, names_of, workspace_of


async def test_catalogs_schemas_and_volumes_are_per_principal() -> None:
    workspace = workspace_of()
    workspace.revoke("bob")
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        for path in (MAIN, VOLUME.parent, VOLUME):
            await entry_of(bench, path)
            assert bench.metadata.load_entry(BOB_VIEW, path) is None
            with pytest.raises(PermissionDenied):
                await bench.metadata.resolve_entry(BOB_VIEW, path)
        assert await names_of(bench, MAIN.parent) == ["main"]
        assert await names_of(bench, MAIN.parent, BOB_VIEW) == []
        assert not bench.metadata.listings.has_seen(BOB_VIEW, MAIN)


async def test_inside_a_volume_one_truth_is_shared() -> None:
    async with bench_of(Setting(workspace_of("a"))) as bench:
        await entry_of(bench, at("d", "a"))
        await entry_of(bench, at("d", "a"), BOB_VIEW)
        assert bench.workspace.count() == 1


async def test_that_a_name_is_absent_is_per_principal() -> None:
    workspace = workspace_of("f0", "f1", "f2")
    workspace.page_size = 2
    async with bench_of(Setting(workspace, tree=FakeTree())) as bench:
        assert await is_absent(bench, at("d", "later"))
        workspace.put(at("d", "later"))
        assert not await is_absent(bench, at("d", "later"), BOB_VIEW)


async def test_another_spelling_of_a_securable_leads_to_its_own_name() -> None:
    async with bench_of(Setting(workspace_of())) as bench:
        for _ in range(2):
            assert (await entry_of(bench, RemotePath(("MAIN",)))).name == "main"
            assert (await entry_of(bench, MAIN)).name == "main"
        assert bench.workspace.count() == 1
        bench.clock.step(TTLS.boundary - 1)
        await entry_of(bench, MAIN)
        assert bench.workspace.count() == 1, "boundaries are believed for longer"


async def test_nobody_fails_because_somebody_elses_token_did() -> None:
    """Two tokens of one principal, the first of which turns out bad under the call that both wait for."""
    workspace = workspace_of("a")
    good = Viewer(BOB, principal_of("ada"), Token("second"))
    workspace.people[Token("second")] = principal_of("ada")
    del workspace.people[token_of("ada")]
    async with bench_of(Setting(workspace)) as bench, trio.open_nursery() as nursery:

        async def be_refused() -> None:
            with pytest.raises(InvalidToken):
                await bench.metadata.resolve_entry(ADA_VIEW, at("d", "a"))

        nursery.start_soon(be_refused)
        nursery.start_soon(entry_of, bench, at("d", "a"), good)


@pytest.mark.parametrize("is_coy", [False, True])
async def test_a_page_that_somebody_else_was_refused_is_asked_for_again(*, is_coy: bool) -> None:
    workspace = workspace_of("a", "b", "c")
    workspace.is_coy = is_coy  # it may refuse by "no such thing"
    workspace.page_size = 2
    async with bench_of(Setting(workspace)) as bench:
        listing = await bench.metadata.listings.open(ADA_VIEW, at("d"))
        workspace.revoke("bob")

        async def be_refused() -> None:
            with pytest.raises(NotFound if is_coy else PermissionDenied):
                await bench.metadata.listings.extend(BOB_VIEW, listing)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_refused)
            await wait_until_asked(workspace, 2)
            nursery.start_soon(bench.metadata.listings.extend, ADA_VIEW, listing)
        assert listing.is_complete
        assert len(listing) == 3


async def wait_until_asked(workspace: FakeWorkspace, count: int) -> None:
    while workspace.count() < count:
        await trio.lowlevel.checkpoint()
