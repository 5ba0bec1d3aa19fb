"""A filter of securables, and a catalog, schema or volume as the root of the mount."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fuse4dbricks.errors import NotFound, NoToken, PermissionDenied
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.vfs.inodes import ROOT_INO
from fuse4dbricks.visibility import Visibility, parse_patterns
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, EVE, VOLUME, at, token_of, workspace_with
from tests.support.kernel import Kernel

OTHER = VOLUME.parent.child("other")
CONTROL = ["README.txt", ".auth"]


@asynccontextmanager
async def showing(
    *, root: RemotePath = ROOT, allow: str = "", deny: str = "", is_shared: bool = True
) -> AsyncIterator[Bench]:
    workspace = workspace_with("ada", "bob")
    workspace.make_folder(OTHER)
    workspace.allow("ada", OTHER)
    workspace.revoke("bob")
    for path in (at("f"), at("d", "g"), at("README.txt"), OTHER.child("f")):
        workspace.put(path)
    rule = Visibility(parse_patterns([allow]), parse_patterns([deny]))
    async with bench_of(Setting(workspace, is_shared=is_shared, root=root, visibility=rule)) as bench:
        bench.written.set(ADA, token_of("ada"))
        bench.written.set(BOB, token_of("bob"))
        yield bench


async def test_what_is_hidden_is_absent_for_everybody() -> None:
    async with showing(deny=OTHER.full_name.upper()) as bench:
        ada = Kernel(bench.filesystem, ADA)
        assert await ada.list_folder(VOLUME.parent) == [VOLUME.name]
        before = bench.workspace.count()
        for uid in (ADA, BOB, EVE):
            with pytest.raises(NotFound):
                await bench.filesystem.lookup(uid, (await ada.walk(VOLUME.parent)).ino, b"other")
        assert bench.workspace.count() == before
        assert await ada.read_file(at("f"))


async def test_what_leads_to_an_allowed_name_is_walkable_and_nothing_beside_it() -> None:
    async with showing(allow=VOLUME.full_name) as bench:
        ada = Kernel(bench.filesystem, ADA)
        assert (await ada.list_inode(ROOT_INO))[2:] == [VOLUME.parts[0]]
        assert await ada.list_folder(VOLUME.parent) == [VOLUME.name]
        assert await ada.read_file(at("d", "g"))
        with pytest.raises(NotFound):
            await ada.walk(OTHER)


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_securable_is_the_root(depth: int) -> None:
    root = RemotePath(VOLUME.parts[:depth])
    async with showing(root=root) as bench:
        ada = Kernel(bench.filesystem, ADA)
        listed = await ada.list_inode(ROOT_INO)
        assert listed[:2] == CONTROL
        assert set(listed[2:]) == [{VOLUME.parts[1]}, {VOLUME.name, OTHER.name}, {"d", "f"}][depth - 1]
        assert await ada.read_file(RemotePath((*VOLUME.parts[depth:], "d", "g")))
        assert "README.txt" not in listed[2:]  # the volume's own is behind the mount's
        text = await ada.read_file(RemotePath(("README.txt",)))
        assert root.full_name.encode() in text


async def test_a_root_in_a_volume_is_guarded_like_any_folder() -> None:
    async with showing(root=VOLUME) as bench:
        assert await Kernel(bench.filesystem, ADA).list_inode(ROOT_INO)
        assert await Kernel(bench.filesystem, EVE).list_inode(ROOT_INO) == CONTROL
        with pytest.raises(PermissionDenied):
            await Kernel(bench.filesystem, BOB).list_inode(ROOT_INO)
        for uid, refusal in ((BOB, PermissionDenied), (EVE, NoToken)):
            for name in (b"f", b"none"):
                with pytest.raises(refusal):
                    await bench.filesystem.lookup(uid, ROOT_INO, name)
            assert (await Kernel(bench.filesystem, uid).walk(RemotePath(("README.txt",)))).ino
