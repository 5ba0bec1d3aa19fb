"""Reading folders in pieces, while they change."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.freshness import Ttls
from fuse4dbricks.errors import NotFound, Unreachable
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench, Setting, bench_of, setting_of
from tests.support.fake_index import FakeTree
from tests.support.fakes import ADA, VOLUME, at, workspace_with
from tests.support.kernel import Kernel, kernel_of, taker

STABLE = [f"s{number:02}" for number in range(12)]
FLEETING = [f"{letter}{number:02}" for letter in "atz" for number in range(6)]

Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 9)),
        st.tuples(st.just("put"), st.integers(0, len(FLEETING) - 1)),
        st.tuples(st.just("remove"), st.integers(0, len(FLEETING) - 1)),
        st.tuples(st.just("change"), st.integers(0, len(STABLE) - 1)),
        st.tuples(st.just("wait"), st.integers(1, 60)),
        st.tuples(st.just("other"), st.integers(1, 9)),
        st.tuples(st.just("again"), st.integers(0, 5)),
    ),
    max_size=40,
)


class Run:
    """One handle that is read in pieces, beside another one and a remote folder that changes."""

    def __init__(self, bench: Bench, kernel: Kernel, folder: int, number: int) -> None:
        self.bench, self.kernel, self.folder, self.number = bench, kernel, folder, number
        self.offset = 0
        self.seen: list[tuple[str, int]] = []
        self.size = 5

    async def play(self, step: Step) -> None:
        await getattr(self, f"_{step[0]}")(step[1])

    async def _read(self, room: int) -> None:
        batch = await self.kernel.read_entries(self.number, self.offset, room)
        for name, _, offset in batch:
            self.seen.append((name.decode(), offset))
            self.offset = offset

    async def _put(self, which: int) -> None:
        self.bench.workspace.put(at("d", FLEETING[which]))

    async def _remove(self, which: int) -> None:
        try:
            self.bench.workspace.find(at("d", FLEETING[which]))
        except NotFound:
            return
        self.bench.workspace.remove(at("d", FLEETING[which]))

    async def _change(self, which: int) -> None:
        self.size += 1
        self.bench.workspace.put(at("d", STABLE[which]), size=self.size)

    async def _wait(self, seconds: int) -> None:
        self.bench.clock.step(seconds)

    async def _other(self, room: int) -> None:
        """Somebody else opens the folder and reads the beginning."""
        number = await self.bench.filesystem.opendir(ADA, self.folder)
        await self.kernel.read_entries(number, 0, room)
        self.bench.filesystem.releasedir(number)

    async def _again(self, back: int) -> None:
        """Seek to an offset that was given before, as ``telldir`` and ``seekdir`` do: what followed comes again."""
        if len(self.seen) > back + 1:
            del self.seen[len(self.seen) - back :]
            self.offset = self.seen[-1][1]


async def check(steps: list[Step], page_size: int, max_entries: int, *, has_index: bool) -> None:
    workspace = workspace_with("ada")
    workspace.page_size = page_size
    for name in STABLE:
        workspace.put(at("d", name))
    setting = Setting(workspace, max_entries=max_entries, tree=FakeTree() if has_index else None)
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        folder = (await kernel.walk(at("d"))).ino
        run = Run(bench, kernel, folder, await bench.filesystem.opendir(ADA, folder))
        # The first buffer holds the dots; from then on the handle does not begin anew.
        await run.play(("read", 2))
        for step in steps:
            await run.play(step)
        before = -1
        while before != run.offset:
            before = run.offset
            await run.play(("read", 7))
        names = [name for name, _ in run.seen]
        assert len(names) == len(set(names)), "no entry twice"
        assert names[:2] == [".", ".."]
        assert set(STABLE) <= set(names) <= {".", "..", *STABLE, *FLEETING}
        bench.filesystem.releasedir(run.number)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1
        assert bench.filesystem.inodes.root.holds == 0


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(1, 8), st.sampled_from([3, 1000]), st.booleans())
def test_no_entry_twice_and_none_that_was_there_throughout_skipped(
    steps: list[Step], page_size: int, max_entries: int, has_index: bool
) -> None:
    async def main() -> None:
        await check(steps, page_size, max_entries, has_index=has_index)

    trio.run(main)


async def test_only_what_was_accepted_is_referenced() -> None:
    setting = setting_of(*"abc")
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(at("d"))
        number = await bench.filesystem.opendir(ADA, folder.ino)
        batch = await kernel.read_entries(number, 0, 3)
        assert [name for name, _, _ in batch] == [b".", b"..", b"a"]
        assert bench.filesystem.inodes.get(batch[2][1].ino).lookups == 1
        listed = {node.name for node in bench.filesystem.inodes}
        assert "b" not in listed, "it was declined"
        again = await kernel.read_entries(number, batch[-1][2], 10)
        assert [name for name, _, _ in again] == [b"b", b"c"]
        assert all(shown.entry_timeout == Ttls().inner for _, shown, _ in again)


async def test_an_entry_that_was_listed_can_be_looked_up_without_a_call_and_is_the_same_inode() -> None:
    setting = Setting(workspace_with("ada"))
    setting.workspace.put(at("d", "f"))
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        listed = {name: shown.ino for name, shown, _ in await kernel.read_entries(number, 0)}
        before = bench.workspace.count()
        assert (await kernel.walk(at("d", "f"))).ino == listed[b"f"]
        assert bench.workspace.count() == before


async def test_the_dots_and_the_root() -> None:
    setting = Setting(workspace_with("ada"))
    setting.workspace.put(at("d", "f"))
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(at("d"))
        number = await bench.filesystem.opendir(ADA, folder.ino)
        dots = {name: shown for name, shown, _ in await kernel.read_entries(number, 0)}
        assert dots[b"."].ino == folder.ino
        assert dots[b".."].ino == (await kernel.walk(VOLUME)).ino
        assert await kernel.list_inode(ROOT_INO) == ["README.txt", ".auth", "main"]


async def test_a_long_folder_goes_out_page_by_page_and_the_next_is_fetched_meanwhile() -> None:
    workspace = workspace_with("ada")
    workspace.page_size = 2
    for name in "abcd":
        workspace.put(at("d", name))
    async with bench_of(Setting(workspace)) as bench:
        kernel = kernel_of(bench)
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        before = workspace.count("listing")
        first = await kernel.read_entries(number, 0)
        assert [name for name, _, _ in first] == [b".", b"..", b"a", b"b"]
        await wait_all_tasks_blocked()
        assert workspace.count("listing") == before + 1
        second = await kernel.read_entries(number, first[-1][2])
        assert [name for name, _, _ in second] == [b"c", b"d"]
        assert await kernel.read_entries(number, second[-1][2]) == []
        assert workspace.count("listing") == before + 1


async def test_files_without_size_are_asked_for_one_by_one_and_gone_ones_left_out() -> None:
    workspace = workspace_with("ada")
    for name in "abc":
        workspace.put(at("d", name))
        workspace.unsized.add(at("d", name))
    async with bench_of(Setting(workspace)) as bench:
        kernel = kernel_of(bench)
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        workspace.remove(at("d", "b"))
        names, offset = [], 0
        while batch := await kernel.read_entries(number, offset):
            names += [name for name, _, _ in batch]
            offset = batch[-1][2]
        assert names == [b".", b"..", b"a", b"c"]


async def test_a_call_that_fails_half_way_shows_what_it_has_and_the_next_one_fails() -> None:
    workspace = workspace_with("ada")
    for name in "abc":
        workspace.put(at("d", name))
    workspace.unsized.add(at("d", "b"))
    async with bench_of(Setting(workspace)) as bench:
        kernel = kernel_of(bench)
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        workspace.down = Unreachable("no route")
        batch = await kernel.read_entries(number, 0)
        assert [name for name, _, _ in batch] == [b".", b"..", b"a"]
        with pytest.raises(Unreachable):
            await kernel.read_entries(number, batch[-1][2])


async def test_a_call_that_is_interrupted_takes_its_references_back() -> None:
    """pyfuse3 then throws the buffer away, and the kernel never hears of what was in it."""
    setting = setting_of(*"abc")
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(at("d"))
        number = await bench.filesystem.opendir(ADA, folder.ino)
        batch: list[tuple[bytes, Attributes, int]] = []
        take = taker(batch, 4)

        def fail_late(name: bytes, shown: Attributes, offset: int) -> bool:
            if not take(name, shown, offset):
                raise MemoryError
            return True

        with pytest.raises(MemoryError):
            await bench.filesystem.readdir(number, 0, fail_late)
        assert len(batch) == 4
        bench.filesystem.releasedir(number)
        kernel.forget_all()
        assert len(bench.filesystem.inodes) == 1


async def test_rewinding_a_stale_handle_shows_the_folder_as_it_is_now() -> None:
    setting = Setting(workspace_with("ada"))
    setting.workspace.put(at("d", "a"))
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        await kernel.read_entries(number, 0)
        setting.workspace.put(at("d", "b"))
        assert len(await kernel.read_entries(number, 0)) == 3
        bench.clock.step(Ttls().inner)
        assert len(await kernel.read_entries(number, 0)) == 4


async def test_a_file_that_was_found_changed_is_not_listed_as_it_was() -> None:
    setting = Setting(workspace_with("ada"))
    setting.workspace.put(at("d", "a"))
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        old = await kernel.walk(at("d", "a"))
        setting.workspace.put(at("d", "a"), size=9)
        bench.metadata.mark_stale(at("d", "a"))
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(at("d"))).ino)
        first = await kernel.read_entries(number, 0)
        rest = await kernel.read_entries(number, first[-1][2])
        assert [(name, shown.size) for name, shown, _ in rest] == [(b"a", 9)]
        assert rest[0][1].ino != old.ino


async def test_a_directory_handle_of_another_folder_is_held() -> None:
    setting = Setting(workspace_with("ada"))
    setting.workspace.put(at("d", "a"))
    async with bench_of(setting) as bench:
        kernel = kernel_of(bench)
        folder = await kernel.walk(at("d"))
        number = await bench.filesystem.opendir(ADA, folder.ino)
        kernel.forget_all()
        assert [name for name, _, _ in await kernel.read_entries(number, 0)] == [b".", b"..", b"a"]
        kernel.forget_all()
        bench.filesystem.releasedir(number)
        assert len(bench.filesystem.inodes) == 1
