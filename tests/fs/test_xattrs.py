"""The extended attributes of files: what they say, to whom, and that nobody is asked for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import trio
import trio.testing

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import NoAttribute, NoToken, PermissionDenied
from fuse4dbricks.index.records import HeldChunk
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.control.tree import README_INO
from fuse4dbricks.vfs.inodes import ROOT_INO
from fuse4dbricks.vfs.xattrs import ECHO_SECONDS, MAX_VALUE_BYTES, PREFIX, ranges_text, version_text
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, EVE, MODIFIED, NOW, PERMISSION_TTL, at, token_of, workspace_with
from tests.support.kernel import Kernel

FILE = at("d", "f")


@dataclass
class Held:
    """Chunks on disk."""

    chunks: list[HeldChunk] = field(default_factory=list)

    def load_held(self, path: RemotePath, version: Version, first: int, limit: int) -> list[HeldChunk]:
        return [chunk for chunk in self.chunks if chunk.chunk_index >= first][:limit]


def setting_of(held: Held | None = None, *, etag: str | None = None) -> Setting:
    workspace = workspace_with("ada", "bob")
    workspace.put(FILE, 9, etag=etag)
    return Setting(workspace, held=held, is_shared=True)


async def found(bench: Bench) -> Attributes:
    for uid, name in ((ADA, "ada"), (BOB, "bob")):
        bench.written.set(uid, token_of(name))
    return await Kernel(bench.filesystem, ADA).walk(FILE)


async def shown(bench: Bench, ino: int, uid: int = ADA) -> dict[str, str]:
    names = await bench.filesystem.listxattr(uid, ino)
    return {
        name.decode().removeprefix(PREFIX): (await bench.filesystem.getxattr(uid, ino, name)).decode()
        for name in names
    }


async def test_a_file_of_which_nothing_is_cached() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        assert await shown(bench, file.ino) == {
            "version": f"{MODIFIED}:9:-",
            "last_modified": str(MODIFIED),
            "validated_at": str(int(NOW)),
            "cached_bytes": "0",
        }
        for absent in ("etag", "pinned", "owner", "fetched_at", "cached_ranges", "nonsense", ""):
            with pytest.raises(NoAttribute):
                await bench.filesystem.getxattr(ADA, file.ino, f"{PREFIX}{absent}".encode())


async def test_all_that_there_can_be() -> None:
    held = Held([HeldChunk(0, 4, "ada", NOW - 50), HeldChunk(2, 1, "bob", NOW - 20)])
    async with bench_of(replace(setting_of(held, etag='"e1"'), pinned=frozenset({FILE}))) as bench:
        file = await found(bench)
        assert await shown(bench, file.ino) == {
            "version": f'{MODIFIED}:9:"e1"',
            "etag": '"e1"',
            "last_modified": str(MODIFIED),
            "pinned": "1",
            "validated_at": str(int(NOW)),
            "cached_bytes": "5",
            "cached_ranges": "0-3,8-8",
            "owner": "ada,bob",
            "fetched_at": str(int(NOW - 20)),
        }


async def test_what_is_in_ram_counts() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        values = await shown(bench, file.ino)
        assert (values["cached_bytes"], values["cached_ranges"]) == ("9", "0-8")
        assert "fetched_at" not in values


async def test_the_second_half_of_a_question_has_the_first_ones_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A program asks for the length first; what arrives in between must not make the answer longer."""
    held = Held()
    name = f"{PREFIX}cached_bytes".encode()
    async with bench_of(setting_of(held)) as bench:
        file = await found(bench)
        files = bench.filesystem
        for change in (HeldChunk(0, 4, "ada", NOW), HeldChunk(1, 4, "ada", NOW), HeldChunk(2, 1, "ada", NOW)):
            listed, value = await files.listxattr(ADA, file.ino), await files.getxattr(ADA, file.ino, name)
            held.chunks.append(change)
            assert await files.listxattr(ADA, file.ino) == listed
            assert await files.getxattr(ADA, file.ino, name) == value
        assert await files.getxattr(ADA, file.ino, name) == b"9", "and the third question is a new one"
        held.chunks.pop()
        await trio.sleep(ECHO_SECONDS)
        assert await files.getxattr(ADA, file.ino, name) == b"8"


async def test_who_reads_and_asks_again_is_told_what_came_of_it() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        before = await shown(bench, file.ino)
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        after = await shown(bench, file.ino)
        assert (before["cached_bytes"], after["cached_bytes"]) == ("0", "9")


async def test_nobody_is_asked() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        calls = bench.workspace.count()
        bench.clock.step(
            PERMISSION_TTL / 4
        )  # what is known of the file is long out of date, the grant is not
        assert (await shown(bench, file.ino))["validated_at"] == str(int(NOW))
        assert bench.workspace.count() == calls


async def test_an_inode_of_a_former_version_was_not_validated_since() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        bench.workspace.put(FILE, 10)
        bench.clock.step(PERMISSION_TTL / 4)
        assert (await found(bench)).ino != file.ino
        former = await shown(bench, file.ino)
        assert former["version"] == f"{MODIFIED}:9:-"
        assert "validated_at" not in former


async def test_folders_and_control_files_have_none() -> None:
    async with bench_of(setting_of()) as bench:
        await found(bench)
        folder = await Kernel(bench.filesystem, ADA).walk(FILE.parent)
        for ino in (ROOT_INO, README_INO, folder.ino):
            assert await bench.filesystem.listxattr(ADA, ino) == []
            with pytest.raises(NoAttribute):
                await bench.filesystem.getxattr(ADA, ino, f"{PREFIX}version".encode())


async def test_a_mount_may_list_none() -> None:
    async with bench_of(replace(setting_of(), lists_xattrs=False)) as bench:
        file = await found(bench)
        assert await bench.filesystem.listxattr(ADA, file.ino) == []
        assert await bench.filesystem.getxattr(ADA, file.ino, f"{PREFIX}cached_bytes".encode()) == b"0"


@pytest.mark.parametrize("name", ["version", "cached_bytes", "pinned", "nonsense"])
async def test_who_may_not_read_is_told_nothing(name: str) -> None:
    async with bench_of(setting_of(Held())) as bench:
        file = await found(bench)
        bench.workspace.revoke("bob")
        for uid, refusal in ((BOB, PermissionDenied), (EVE, NoToken)):
            with pytest.raises(refusal):
                await bench.filesystem.getxattr(uid, file.ino, f"{PREFIX}{name}".encode())
            with pytest.raises(refusal):
                await bench.filesystem.listxattr(uid, file.ino)


async def test_a_right_that_is_lost_is_lost_here_too() -> None:
    async with bench_of(setting_of()) as bench:
        file = await found(bench)
        assert await shown(bench, file.ino, BOB)
        bench.workspace.revoke("bob")
        bench.clock.step(PERMISSION_TTL + 1)
        with pytest.raises(PermissionDenied):
            await bench.filesystem.getxattr(BOB, file.ino, f"{PREFIX}version".encode())
        assert await shown(bench, file.ino)


def test_versions_that_differ_are_told_apart() -> None:
    versions = [Version(1, 2), Version(2, 1), Version(1, None), Version(1, 2, '"a"'), Version(1, 2, None, 3)]
    assert len({version_text(version) for version in versions}) == len(versions)


def test_more_ranges_than_a_value_holds_are_cut() -> None:
    text = ranges_text(tuple((n * 1_000_000, n * 1_000_000 + 5) for n in range(10_000)))
    assert len(text) <= MAX_VALUE_BYTES + 4
    assert text.endswith("4,...")
    assert all("-" in part for part in text.split(",")[:-1])
