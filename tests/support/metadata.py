"""Questions to a metadata cache that tests ask."""

from __future__ import annotations

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.entry import Entry
from fuse4dbricks.errors import NotFound
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer
from tests.support.benches import Bench
from tests.support.fakes import ADA, BOB, FakeWorkspace, at, principal_of, token_of, workspace_with

TTLS = Ttls()
MAIN = RemotePath(("main",))


def viewer_of(name: str, uid: int = ADA) -> Viewer:
    return Viewer(uid, principal_of(name), token_of(name))


ADA_VIEW, BOB_VIEW = viewer_of("ada"), viewer_of("bob", BOB)


def workspace_of(*names: str, people: tuple[str, ...] = ("ada", "bob")) -> FakeWorkspace:
    workspace = workspace_with(*people)
    for name in names:
        workspace.put(at("d", name))
    return workspace


async def entry_of(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> Entry:
    known = await bench.metadata.resolve_entry(viewer, path)
    assert known.entry is not None
    return known.entry


async def is_absent(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> bool:
    try:
        await bench.metadata.resolve_entry(viewer, path)
    except NotFound:
        return True
    return False


async def names_of(bench: Bench, path: RemotePath, viewer: Viewer = ADA_VIEW) -> list[str]:
    listing = await bench.metadata.listings.open(viewer, path)
    while not listing.is_complete:
        await bench.metadata.listings.extend(viewer, listing)
    return [entry.name for entry in listing.entries]
