"""What the kernel keeps of open files goes back when the right to it is lost, whoever asks for it or not."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.errors import PermissionDenied, ServerFailure, Throttled, Unreachable
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, VOLUME, Call, at, token_of, workspace_with
from tests.support.kernel import Kernel


class FakePages:
    """What the kernel keeps; satisfies KernelCache. ``stuck`` inodes wait for ever, as for the lock of a page."""

    def __init__(self) -> None:
        self.dropped: list[int] = []
        self.dropped_names: list[bytes] = []
        self.stuck: set[int] = set()

    async def drop(self, ino: int) -> None:
        if ino in self.stuck:
            await trio.sleep_forever()
        self.dropped.append(ino)

    async def drop_name(self, parent_ino: int, name: bytes) -> None:
        self.dropped_names.append(name)


class Watched:
    """A mount in which ada and bob hold the same file open, and bob another."""

    def __init__(
        self, bench: Bench, pages: FakePages, inos: tuple[int, int], handles: dict[int, int]
    ) -> None:
        self.bench = bench
        self.pages = pages
        self.shared, self.of_bob = inos
        self.handles = handles

    def fall_silent(self) -> None:
        """The workspace answers nobody any more."""

        async def say_nothing(call: Call) -> None:
            await trio.sleep_forever()

        self.bench.workspace.before_reply = say_nothing

    async def pass_time(self, seconds: float) -> None:
        """In steps, on both clocks."""
        for _ in range(10):
            self.bench.clock.step(seconds / 10)
            await trio.sleep(seconds / 10)
            await wait_all_tasks_blocked()


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    workspace = workspace_with("ada", "bob")
    for name in ("f", "g"):
        workspace.put(at(name))
    async with bench_of(Setting(workspace, is_shared=True)) as bench, trio.open_nursery() as nursery:
        pages, handles = FakePages(), {}
        for uid, name in ((ADA, "ada"), (BOB, "bob")):
            bench.written.set(uid, token_of(name))
            shown = await Kernel(bench.filesystem, uid).walk(at("f"))
            handles[uid] = (await bench.filesystem.open(uid, shown.ino, os.O_RDONLY)).number
            await bench.filesystem.read(handles[uid], 0, 5)
        second = await Kernel(bench.filesystem, BOB).walk(at("g"))
        await bench.filesystem.open(BOB, second.ino, os.O_RDONLY)
        nursery.start_soon(bench.filesystem.recalls.run, pages, PERMISSION_TTL)
        yield Watched(bench, pages, (shown.ino, second.ino), handles)
        nursery.cancel_scope.cancel()


async def test_who_may_read_keeps_what_the_kernel_has(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        await mount.pass_time(3 * PERMISSION_TTL)
        assert mount.pages.dropped == []
        assert (await mount.bench.filesystem.getattr(BOB, mount.shared)).attr_timeout >= 0


async def test_a_lost_grant_takes_back_all_that_he_holds_within_the_ttl(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        await mount.pass_time(PERMISSION_TTL / 10)
        mount.bench.workspace.revoke("bob")
        await mount.pass_time(PERMISSION_TTL)
        assert set(mount.pages.dropped) == {mount.shared, mount.of_bob}
        # From now on the kernel asks at each read of this inode, whoever reads.
        assert (await mount.bench.filesystem.getattr(ADA, mount.shared)).attr_timeout == 0
        with pytest.raises(PermissionDenied):
            await mount.bench.filesystem.getattr(BOB, mount.shared)


async def test_a_forgotten_token_does_too(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        mount.bench.written.forget(BOB)
        await mount.pass_time(PERMISSION_TTL)
        assert set(mount.pages.dropped) == {mount.shared, mount.of_bob}


async def test_what_nobody_answers_for_is_ours_to_show_before_its_proof_ends(
    autojump_clock: MockClock,
) -> None:
    """A workspace that is slow to say no must not leave pages with the kernel for longer than the TTL."""
    async with watched() as mount:
        mount.fall_silent()
        await mount.pass_time(PERMISSION_TTL * 0.6)
        assert mount.pages.dropped == [], "there is time for an answer yet"
        await mount.pass_time(PERMISSION_TTL * 0.4)
        assert mount.shared in mount.pages.dropped
        assert await mount.bench.filesystem.read(mount.handles[BOB], 0, 5), "and silence denies nothing"


async def test_what_was_taken_back_for_want_of_an_answer_is_not_left_to_the_kernel_again(
    autojump_clock: MockClock,
) -> None:
    """Between that moment and the end of the proof somebody reads on, and the next look may be long after."""
    async with watched() as mount:
        mount.fall_silent()
        await mount.pass_time(PERMISSION_TTL - 0.5)
        assert mount.shared in mount.pages.dropped
        assert mount.bench.filesystem.inodes.get(mount.shared).bars == 2, "each read of it is asked for"
        assert await mount.bench.filesystem.read(mount.handles[BOB], 0, 5), "the proof still counts"


async def test_names_go_with_the_token_that_they_were_told_to(autojump_clock: MockClock) -> None:
    workspace = workspace_with("ada")
    workspace.put(at("f"))
    async with bench_of(Setting(workspace)) as bench, trio.open_nursery() as nursery:
        pages = FakePages()
        bench.written.set(ADA, token_of("ada"))
        await Kernel(bench.filesystem, ADA).walk(at("f"))
        nursery.start_soon(bench.filesystem.recalls.run, pages, PERMISSION_TTL)
        await wait_all_tasks_blocked()
        assert pages.dropped_names == []
        bench.written.forget(ADA)
        bench.filesystem.recalls.look_now()
        await wait_all_tasks_blocked()
        assert set(pages.dropped_names) == {b"main", b"default", b"files"}
        nursery.cancel_scope.cancel()


async def test_what_others_read_again_is_dropped_again(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        mount.bench.workspace.revoke("bob")
        await mount.pass_time(PERMISSION_TTL)
        mount.pages.dropped.clear()
        await mount.bench.filesystem.read(mount.handles[ADA], 0, 5)
        await mount.pass_time(1)
        assert mount.pages.dropped == [mount.shared]
        mount.pages.dropped.clear()
        assert mount.bench.filesystem.get_bytes(mount.handles[ADA], 0, 5)
        await mount.pass_time(1)
        assert mount.pages.dropped == [mount.shared]


@pytest.mark.parametrize("regains", [True, False], ids=["allowed again", "closed"])
async def test_a_bar_ends_with_its_cause(autojump_clock: MockClock, regains: bool) -> None:
    async with watched() as mount:
        mount.bench.workspace.revoke("bob")
        await mount.pass_time(PERMISSION_TTL)
        if regains:
            mount.bench.workspace.allow("bob")
            await mount.pass_time(PERMISSION_TTL)
            assert await mount.bench.filesystem.read(mount.handles[BOB], 0, 5)
        else:
            mount.bench.filesystem.release(mount.handles[BOB])
        mount.pages.dropped.clear()
        await mount.bench.filesystem.read(mount.handles[ADA], 0, 5)
        await mount.pass_time(1)
        assert mount.pages.dropped == []


@pytest.mark.parametrize(
    "weather", [Unreachable("no route"), ServerFailure("503", status=503), Throttled("429", status=429)]
)
async def test_an_outage_takes_back_nothing(
    autojump_clock: MockClock, weather: Unreachable | ServerFailure | Throttled
) -> None:
    async with watched() as mount:
        mount.bench.workspace.down = weather
        await mount.pass_time(5 * PERMISSION_TTL)
        assert mount.pages.dropped == []
        assert await mount.bench.filesystem.read(mount.handles[BOB], 0, 5)


async def test_a_workspace_that_is_silent_holds_up_nobody_who_was_let_in(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        mount.fall_silent()
        await mount.pass_time(2 * PERMISSION_TTL)
        with trio.fail_after(5):
            assert await mount.bench.filesystem.read(mount.handles[BOB], 0, 5)


async def test_a_slow_no_counts_when_it_comes(autojump_clock: MockClock) -> None:
    async with watched() as mount:

        async def be_slow(call: Call) -> None:
            await trio.sleep(8)

        mount.bench.workspace.before_reply = be_slow
        mount.bench.workspace.revoke("bob")
        await mount.pass_time(PERMISSION_TTL + 20)
        assert set(mount.pages.dropped) == {mount.shared, mount.of_bob}


async def test_an_inode_whose_pages_are_locked_holds_up_no_other(autojump_clock: MockClock) -> None:
    async with watched() as mount:
        mount.pages.stuck.add(mount.shared)
        mount.bench.workspace.revoke("bob")
        await mount.pass_time(PERMISSION_TTL)
        assert mount.pages.dropped == [mount.of_bob]


async def pass_minute(bench: Bench, seconds: float = PERMISSION_TTL) -> None:
    for _ in range(20):
        bench.clock.step(seconds / 20)
        await trio.sleep(seconds / 20)
        await wait_all_tasks_blocked()


def next_look() -> float:
    """Seconds until anything wakes by itself."""
    return trio.lowlevel.current_statistics().seconds_to_next_deadline


async def test_while_there_is_nothing_to_take_back_nobody_looks(autojump_clock: MockClock) -> None:
    workspace = workspace_with("ada")
    workspace.put(at("f"))
    async with bench_of(Setting(workspace)) as bench, trio.open_nursery() as nursery:
        pages = FakePages()
        nursery.start_soon(bench.filesystem.recalls.run, pages, PERMISSION_TTL)
        await wait_all_tasks_blocked()
        assert next_look() == math.inf
        bench.written.set(ADA, token_of("ada"))
        shown = await Kernel(bench.filesystem, ADA).walk(at("f"))
        await wait_all_tasks_blocked()
        assert next_look() <= PERMISSION_TTL / 5, "names were told, and may have to be taken back"
        await pass_minute(bench, 2 * PERMISSION_TTL)
        assert next_look() == math.inf, "they have ended by themselves"
        opened = await bench.filesystem.open(ADA, shown.ino, os.O_RDONLY)
        await wait_all_tasks_blocked()
        assert next_look() <= PERMISSION_TTL / 5
        bench.filesystem.release(opened.number)
        await pass_minute(bench, 2 * PERMISSION_TTL)
        assert next_look() == math.inf
        nursery.cancel_scope.cancel()


async def test_who_opens_after_a_long_rest_is_watched_as_ever(autojump_clock: MockClock) -> None:
    workspace = workspace_with("ada")
    workspace.put(at("f"))
    async with bench_of(Setting(workspace, is_shared=True)) as bench, trio.open_nursery() as nursery:
        pages = FakePages()
        bench.written.set(ADA, token_of("ada"))
        nursery.start_soon(bench.filesystem.recalls.run, pages, PERMISSION_TTL)
        await pass_minute(bench, 10 * PERMISSION_TTL)
        assert next_look() == math.inf
        shown = await Kernel(bench.filesystem, ADA).walk(at("f"))
        opened = await bench.filesystem.open(ADA, shown.ino, os.O_RDONLY)
        await bench.filesystem.read(opened.number, 0, 5)
        workspace.revoke("ada")
        await pass_minute(bench)
        assert pages.dropped == [shown.ino]
        nursery.cancel_scope.cancel()


async def test_names_told_by_a_listing_or_a_stat_keep_the_watch(autojump_clock: MockClock) -> None:
    workspace = workspace_with("ada")
    workspace.put(at("f"))
    async with bench_of(Setting(workspace)) as bench, trio.open_nursery() as nursery:
        kernel = Kernel(bench.filesystem, ADA)
        bench.written.set(ADA, token_of("ada"))
        shown = await kernel.walk(at("f"))
        folder = await kernel.walk(VOLUME)
        nursery.start_soon(bench.filesystem.recalls.run, FakePages(), PERMISSION_TTL)
        for tell in (
            lambda: bench.filesystem.getattr(ADA, shown.ino),
            lambda: kernel.list_inode(folder.ino),
        ):
            await pass_minute(bench, 3 * PERMISSION_TTL)
            assert next_look() == math.inf
            await tell()
            await wait_all_tasks_blocked()
            assert next_look() <= PERMISSION_TTL / 5
        nursery.cancel_scope.cancel()
