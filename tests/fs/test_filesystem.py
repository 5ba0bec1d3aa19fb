"""What each operation means for one local user, over a workspace in dictionaries."""

from __future__ import annotations

import os
import stat

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import (
    AccessDenied,
    BadHandle,
    Fuse4dbricksError,
    IsADirectory,
    NameTooLong,
    NoAttribute,
    NoSuchName,
    NotADirectory,
    NotFound,
    NoToken,
    ReadOnly,
    Unreachable,
    VersionChanged,
)
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.control.tree import AUTH_INO, README_INO, TOKEN_INO
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fake_index import FakeGrants, FakeTree
from tests.support.fakes import ADA, EVE, MODIFIED, NOW, VOLUME, Call, at, bytes_of, token_of, workspace_with
from tests.support.kernel import Kernel


def setting_of(*names: str, is_shared: bool = False) -> Setting:
    workspace = workspace_with("ada")
    for name in names:
        workspace.put(at("d", name))
    return Setting(workspace, is_shared=is_shared)


def kernel_of(bench: Bench, uid: int = ADA, name: str = "ada") -> Kernel:
    bench.written.set(uid, token_of(name))
    return Kernel(bench.filesystem, uid)


# --- names and attributes ------------------------------------------------------------------------


async def test_a_file_is_found_and_shown() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        shown = await kernel.walk(at("d", "f"))
        assert stat.S_ISREG(shown.mode)
        assert (stat.S_IMODE(shown.mode), shown.size, shown.mtime, shown.nlink) == (0o444, 5, MODIFIED, 1)
        assert shown.entry_timeout == shown.attr_timeout == Ttls().inner
        again = await bench.filesystem.getattr(ADA, shown.ino)
        assert again == shown
        folder = await kernel.walk(at("d"))
        assert stat.S_ISDIR(folder.mode)
        assert stat.S_IMODE(folder.mode) == 0o555


async def test_timeouts_are_what_is_left_of_the_freshness() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        shown = await kernel.walk(at("d", "f"))
        bench.clock.step(Ttls().inner - 1)
        assert (await bench.filesystem.getattr(ADA, shown.ino)).attr_timeout == 1
        bench.clock.step(2)
        assert (await bench.filesystem.getattr(ADA, shown.ino)).attr_timeout == 0


async def test_getattr_of_an_inode_whose_file_has_moved_on_is_kept_by_nobody() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        bench.workspace.put(at("d", "f"), size=9)
        bench.clock.step(Ttls().inner)
        new = await kernel.walk(at("d", "f"))
        assert new.ino != old.ino
        shown = await bench.filesystem.getattr(ADA, old.ino)
        assert (shown.size, shown.attr_timeout) == (5, 0)


async def test_a_missing_name_is_a_negative_dentry_for_one_user_and_an_error_on_a_shared_mount() -> None:
    async with bench_of(setting_of("f")) as bench:
        absent = await kernel_of(bench).walk(at("d", "none"))
        assert absent == Attributes(0, entry_timeout=Ttls().negative)
    async with bench_of(setting_of("f", is_shared=True)) as bench:
        with pytest.raises(NotFound):
            await kernel_of(bench).walk(at("d", "none"))


@pytest.mark.parametrize(
    ("raw", "error"),
    [(b"\xff\xfe", NoSuchName), (b"x" * 256, NameTooLong), (b"..", NoSuchName), (b"a/b", NoSuchName)],
)
async def test_names_that_cannot_be_cost_no_call(raw: bytes, error: type[Exception]) -> None:
    async with bench_of(setting_of("f")) as bench:
        folder = await kernel_of(bench).walk(at("d"))
        before = bench.workspace.count()
        for parent in (ROOT_INO, folder.ino):
            with pytest.raises(error):
                await bench.filesystem.lookup(ADA, parent, raw)
        assert bench.workspace.count() == before


async def test_a_file_is_no_folder_and_a_folder_no_file() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = await kernel.walk(at("d", "f")), await kernel.walk(at("d"))
        for call in (
            bench.filesystem.lookup(ADA, file.ino, b"x"),
            bench.filesystem.opendir(ADA, file.ino),
            bench.filesystem.lookup(ADA, README_INO, b"x"),
        ):
            with pytest.raises((NotADirectory, NotFound)):
                await call
        with pytest.raises(IsADirectory):
            await bench.filesystem.open(ADA, folder.ino, os.O_RDONLY)


async def test_inodes_that_the_kernel_never_had() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel_of(bench)
        for call in (bench.filesystem.getattr(ADA, 4711), bench.filesystem.lookup(ADA, 4711, b"x")):
            with pytest.raises(NoSuchName):
                await call


async def test_the_time_of_a_folder_is_that_of_what_it_lies_in_or_of_the_mount() -> None:
    async with bench_of(setting_of("f")) as bench:
        assert (await kernel_of(bench).walk(at("d"))).mtime == NOW


async def test_extended_attributes_are_none() -> None:
    async with bench_of(setting_of("f")) as bench:
        assert await bench.filesystem.listxattr(ADA, ROOT_INO) == []
        with pytest.raises(NoAttribute):
            await bench.filesystem.getxattr(ADA, ROOT_INO, b"user.\xff")


async def test_access() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = (await kernel.walk(at("d", "f"))).ino, (await kernel.walk(at("d"))).ino
        filesystem = bench.filesystem
        await filesystem.check_access(ADA, file, os.R_OK)
        await filesystem.check_access(ADA, folder, os.R_OK | os.X_OK)
        await filesystem.check_access(ADA, ROOT_INO, os.X_OK)
        with pytest.raises(AccessDenied):
            await filesystem.check_access(ADA, file, os.X_OK)
        for ino in (file, folder, ROOT_INO):
            with pytest.raises(ReadOnly):
                await filesystem.check_access(ADA, ino, os.W_OK)


# --- reading -------------------------------------------------------------------------------------


async def test_a_cold_read_of_a_listed_file_costs_one_call_and_a_warm_one_none() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        await kernel.walk(at("d", "g"))
        before = bench.workspace.count()
        content = await kernel.read_file(at("d", "f"))
        assert content == bytes_of((bench.workspace.find(at("d", "f"))).version or pytest.fail("no version"))
        assert bench.workspace.count() == before + 1
        assert await kernel.read_file(at("d", "f")) == content
        assert bench.workspace.count() == before + 1


async def test_what_is_cached_is_answered_without_giving_up_the_processor() -> None:
    """lookup, getattr and read run in the FUSE loop: a real wait in one of them is a wait for everybody."""
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        file, folder = await kernel.walk(at("d", "f")), await kernel.walk(at("d"))
        await kernel.read_file(at("d", "f"))
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)
        for call in (
            bench.filesystem.lookup(ADA, folder.ino, b"f"),
            bench.filesystem.getattr(ADA, file.ino),
            bench.filesystem.open(ADA, file.ino, os.O_RDONLY),
            bench.filesystem.read(opened.number, 0, 5),
            bench.filesystem.check_access(ADA, file.ino, os.R_OK),
        ):
            with pytest.raises(StopIteration):
                call.send(None)


async def test_flags_of_open() -> None:
    async with bench_of(setting_of("f")) as bench:
        file = await kernel_of(bench).walk(at("d", "f"))
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            with pytest.raises(ReadOnly):
                await bench.filesystem.open(ADA, file.ino, flags)
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY | os.O_APPEND | os.O_NOFOLLOW)
        assert opened.keep_cache
        assert not opened.direct_io


async def test_open_of_a_changed_file_is_stale_and_the_next_lookup_gives_a_new_inode() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        bench.workspace.put(at("d", "f"), size=9)
        bench.clock.step(Ttls().inner)
        with pytest.raises(VersionChanged):
            await bench.filesystem.open(ADA, old.ino, os.O_RDONLY)
        new = await kernel.walk(at("d", "f"))
        assert (new.ino != old.ino, new.size) == (True, 9)
        await bench.filesystem.open(ADA, new.ino, os.O_RDONLY)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["changed", "deleted"])
async def test_a_file_that_changes_under_a_handle_is_stale_and_its_metadata_too(*, is_deleted: bool) -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "f"))
        opened = await bench.filesystem.open(ADA, old.ino, os.O_RDONLY)
        if is_deleted:
            bench.workspace.remove(at("d", "f"))
        else:
            bench.workspace.put(at("d", "f"), size=9)
        with pytest.raises(VersionChanged):
            await bench.filesystem.read(opened.number, 0, 5)
        now = await kernel.walk(at("d", "f"))
        assert now.size == (0 if is_deleted else 9)
        assert (now.ino == 0) is is_deleted


async def test_an_unchanged_file_keeps_its_inode() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        first = await kernel.walk(at("d", "f"))
        bench.clock.step(Ttls().inner)
        assert (await kernel.walk(at("d", "f"))).ino == first.ino, "unchanged: the kernel's pages stay good"


async def test_a_file_too_young_to_be_trusted_opens_but_its_pages_are_read_again() -> None:
    """With a short TTL each look at a file of this very second is another version: ``open`` must not be ESTALE."""
    setting = setting_of()
    setting.workspace.put(at("d", "f"), unsettled_at=MODIFIED)
    async with bench_of(setting) as bench:
        file = await kernel_of(bench).walk(at("d", "f"))
        assert (await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)).keep_cache
        bench.workspace.put(at("d", "f"), unsettled_at=MODIFIED + 1)
        bench.clock.step(Ttls().inner)
        assert not (await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)).keep_cache


async def test_handles_that_are_not_open() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        folder = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        for call in (bench.filesystem.read(folder, 0, 5), bench.filesystem.read(99, 0, 5)):
            with pytest.raises(BadHandle):
                await call
        with pytest.raises(BadHandle):
            await bench.filesystem.readdir(99, 0, lambda *_: True)
        with pytest.raises(BadHandle):
            bench.filesystem.write(folder, 0, b"x")
        bench.filesystem.release(99)
        bench.filesystem.releasedir(99)


async def test_everything_that_was_taken_is_given_back() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        await kernel.read_file(at("d", "f"))
        await kernel.list_folder(at("d"))
        file = await kernel.walk(at("d", "g"))
        opened = await bench.filesystem.open(ADA, file.ino, os.O_RDONLY)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) > 1, "an open handle holds its inode and the folders above"
        assert await bench.filesystem.read(opened.number, 0, 9) == await bench.filesystem.read(
            opened.number, 0, 5
        )
        bench.filesystem.release(opened.number)
        assert list(bench.filesystem.inodes) == [bench.filesystem.inodes.root]
        assert bench.filesystem.inodes.root.holds == 0
        assert len(bench.filesystem.handles) == 0
        assert all(reader.is_closed for reader in bench.content.readers)


async def test_a_reader_that_fails_to_close_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        opened = await bench.filesystem.open(ADA, (await kernel.walk(at("d", "f"))).ino, os.O_RDONLY)

        def fail() -> None:
            raise ValueError

        monkeypatch.setattr(bench.content.readers[0], "close", fail)
        with pytest.raises(ValueError):
            bench.filesystem.release(opened.number)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1


# --- the mount's own files -----------------------------------------------------------------------


async def test_without_a_token_only_the_readme_and_auth_are_there() -> None:
    async with bench_of(setting_of("f")) as bench:
        stranger = Kernel(bench.filesystem, EVE)
        assert await stranger.list_inode(ROOT_INO) == ["README.txt", ".auth"]
        assert await stranger.list_inode(AUTH_INO) == [
            "README.txt",
            "explain",
            "login",
            "login.sh",
            "personal_access_token",
            "status",
            "status.json",
        ]
        assert await stranger.read_inode(README_INO)
        with pytest.raises(NoToken):
            await stranger.walk(VOLUME)
        assert bench.workspace.count() == 0


async def test_an_invalid_token_shows_the_same() -> None:
    async with bench_of(setting_of("f")) as bench:
        stranger = kernel_of(bench, EVE, "nobody")
        assert await stranger.list_inode(ROOT_INO) == ["README.txt", ".auth"]


async def test_a_token_revoked_in_between_hides_the_catalogs_although_they_are_cached() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        assert "main" in await kernel.list_inode(ROOT_INO)
        await kernel.read_file(at("d", "f"))
        bench.workspace.people.clear()
        bench.clock.step(300)
        with pytest.raises(Fuse4dbricksError):
            await kernel.walk(at("d", "f"))
        for _ in range(3):
            assert await kernel.list_inode(ROOT_INO) == ["README.txt", ".auth"]
            bench.clock.step(5)


async def test_a_token_is_written_as_a_shell_does() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = Kernel(bench.filesystem, ADA)
        opened = await bench.filesystem.open(ADA, TOKEN_INO, os.O_WRONLY | os.O_TRUNC)
        assert opened.direct_io
        assert bench.filesystem.truncate(TOKEN_INO).size == 0
        text = token_of("ada").reveal().encode() + b"\n"
        assert bench.filesystem.write(opened.number, 0, text) == len(text)
        # The kernel may speak of the close later than of the next command.
        assert "main" in await kernel.list_inode(ROOT_INO)
        bench.filesystem.release(opened.number)
        assert "main" in await kernel.list_inode(ROOT_INO)
        assert await kernel.list_inode(AUTH_INO) == [
            "README.txt",
            "explain",
            "login",
            "login.sh",
            "status",
            "status.json",
        ]
        with pytest.raises(NoToken):
            await Kernel(bench.filesystem, EVE).walk(VOLUME)


async def test_only_the_token_file_can_be_truncated() -> None:
    async with bench_of(setting_of("f")) as bench:
        for ino in (ROOT_INO, README_INO, 4711):
            with pytest.raises(ReadOnly):
                bench.filesystem.truncate(ino)


# --- outages -------------------------------------------------------------------------------------


async def test_an_outage_serves_what_is_cached_and_says_what_is_not() -> None:
    async with bench_of(setting_of("f", "g")) as bench:
        kernel = kernel_of(bench)
        content = await kernel.read_file(at("d", "f"))
        assert await kernel.list_folder(at("d")) == ["f", "g"]
        bench.workspace.down = Unreachable("no route")
        bench.clock.step(3600)
        assert await kernel.read_file(at("d", "f")) == content
        assert await kernel.list_folder(at("d")) == ["f", "g"]
        with pytest.raises(Unreachable):
            await kernel.walk(at("d", "unknown"))
        with pytest.raises(Unreachable):
            await kernel.read_file(at("d", "g"))


@pytest.mark.parametrize("is_shared", [False, True])
async def test_who_went_by_a_whole_path_finds_the_way_again_in_an_outage(is_shared: bool) -> None:
    """Nobody has listed the catalogs: what he has come by is shown, and what else there is, nobody knows."""
    setting = setting_of("f", is_shared=is_shared)
    setting.tree, setting.grants = FakeTree(), FakeGrants()
    async with bench_of(setting) as bench:
        await kernel_of(bench).read_file(at("d", "f"))
    setting.workspace.down = Unreachable("no route")
    setting.clock.step(3600)
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        path = VOLUME
        while path.depth:
            assert path.name in await kernel.list_folder(path.parent)
            path = path.parent
        assert (await kernel.walk(at("d", "f"))).size
        with pytest.raises(Unreachable):
            await kernel.walk(VOLUME.parent.child("other"))
        bench.clock.step(9 * 3600)
        with pytest.raises(Unreachable):
            await kernel.list_folder(VOLUME.parent)


async def test_reading_on_in_an_outage_does_not_prolong_it() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        opened = await bench.filesystem.open(ADA, (await kernel.walk(at("d", "f"))).ino, os.O_RDONLY)
        bench.workspace.down = Unreachable("no route")
        with pytest.raises(Unreachable):
            await bench.filesystem.read(opened.number, 0, 5)
        bench.workspace.down = None
        for _ in range(5):
            with pytest.raises(Unreachable):
                await bench.filesystem.read(opened.number, 0, 5)
            bench.clock.step(1)
        assert await bench.filesystem.read(opened.number, 0, 5)


async def test_the_root_of_an_emptied_volume_stays_an_empty_folder() -> None:
    async with bench_of(setting_of("f", is_shared=True)) as bench:
        kernel = kernel_of(bench)
        await kernel.walk(at("d", "f"))
        bench.workspace.empty_root()
        for _ in range(3):
            bench.clock.step(601)
            assert await kernel.list_folder(VOLUME) == []


async def test_a_lookup_whose_caller_was_interrupted_leaves_nothing() -> None:
    async with bench_of(setting_of("f")) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(VOLUME)

        async def hang(_: Call) -> None:
            await trio.sleep_forever()

        bench.workspace.before_reply = hang
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.filesystem.lookup, ADA, folder.ino, b"d")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        bench.workspace.before_reply = None
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1
