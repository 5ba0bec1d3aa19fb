"""Small files are fetched ahead of who opens a folder in order, and of nobody else."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.cache.ahead.ahead import Ahead
from fuse4dbricks.cache.ahead.files import (
    LARGEST_BYTES,
    MOST_HELD,
    MOST_IN_FLIGHT,
    PATIENCE_SECONDS,
    FilesAhead,
)
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import Unreachable
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.units import MIB
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, at, token_of, workspace_with
from tests.support.kernel import Kernel

FILES = 200
SIZE = 1000


@dataclass(eq=False)
class Anticipated:
    missing: int
    landed: trio.Event = field(default_factory=trio.Event)
    outcome: str = "held"

    def close(self, *, was_used: bool) -> None:
        self.outcome = "used" if was_used else "wasted"


class Shop:
    """A data cache that notes what is asked of it; satisfies SmallFiles.

    Attributes:
        here: names that need no fetch.
        begun: what was anticipated, by name.
        is_slow: nothing lands by itself.
        viewers: in whose name each was fetched.
    """

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.begun: dict[str, Anticipated] = {}
        self.is_slow = False
        self.viewers: set[int] = set()
        self._viewers_of: dict[str, Callable[[], Awaitable[Viewer]]] = {}

    def anticipate(
        self, viewer_of: Callable[[], Awaitable[Viewer]], path: RemotePath, version: Version
    ) -> Anticipated | None:
        if path.name in self.here:
            return None
        self.begun[path.name] = anticipated = Anticipated(version.size)
        self._viewers_of[path.name] = viewer_of
        if not self.is_slow:
            anticipated.landed.set()
        return anticipated

    async def ask_for_viewers(self) -> None:
        for viewer_of in self._viewers_of.values():
            self.viewers.add((await viewer_of()).uid)


@dataclass
class Stage:
    bench: Bench
    shop: Shop
    ahead: FilesAhead
    kernel: Kernel

    async def open(self, *numbers: int) -> None:
        for number in numbers:
            await self.kernel.read_file(at("d", f"f{number:03}"))
        await wait_all_tasks_blocked()

    def count(self, what: str) -> int:
        return self.bench.metrics.get(f"ahead.{what}", what="file")


@asynccontextmanager
async def stage_of(sizes: dict[int, int] | None = None, ram_bytes: int = 64 * MIB) -> AsyncIterator[Stage]:
    setting = Setting(workspace_with("ada"))
    for number in range(FILES):
        setting.workspace.put(at("d", f"f{number:03}"), size=(sizes or {}).get(number, SIZE))
    async with bench_of(setting) as bench:
        shop = Shop()
        ahead = FilesAhead(
            files=shop,
            listings=bench.metadata.listings,
            connectivity=bench.connectivity,
            supervisor=bench.supervisor,
            metrics=bench.metrics,
            ram_bytes=ram_bytes,
        )
        bench.filesystem.ahead = Ahead(files=ahead)
        bench.written.set(ADA, token_of("ada"))
        kernel = Kernel(bench.filesystem, ADA)
        await kernel.list_folder(at("d"))
        yield Stage(bench, shop, ahead, kernel)


async def test_one_file_says_nothing_and_the_second_in_order_does() -> None:
    async with stage_of() as stage:
        await stage.open(10)
        assert not stage.shop.begun
        await stage.open(11)
        assert sorted(stage.shop.begun) == ["f012", "f013", "f014", "f015"]


async def test_a_whole_folder_in_order_is_fetched_once_and_all_of_it_is_used(
    autojump_clock: MockClock,
) -> None:
    async with stage_of() as stage:
        await stage.open(*range(FILES))
        assert len(stage.shop.begun) == FILES - 2
        assert stage.count("used") == stage.count("started") == FILES - 2
        assert {each.outcome for each in stage.shop.begun.values()} == {"used"}
        assert (stage.ahead.in_flight, stage.ahead.held_bytes) == (0, 0)


async def test_eight_readers_that_take_turns_are_followed() -> None:
    async with stage_of() as stage:
        chance = random.Random(3)
        waiting = list(range(8))
        for following in range(8, FILES):
            await stage.open(waiting.pop(chance.randrange(len(waiting))))
            waiting.append(following)
        assert stage.count("used") > FILES * 0.7


async def test_a_shuffled_order_costs_little_and_is_learnt(autojump_clock: MockClock) -> None:
    async with stage_of() as stage:
        order = list(range(FILES))
        random.Random(7).shuffle(order)
        await stage.open(*order[:60])
        await trio.sleep(PATIENCE_SECONDS + 1)
        assert stage.count("wasted") <= 12
        assert stage.bench.metrics.get("ahead.wasted_bytes") == SIZE * stage.count("wasted")


async def test_what_nobody_opens_is_let_go_after_a_while(autojump_clock: MockClock) -> None:
    async with stage_of() as stage:
        await stage.open(0, 1)
        assert stage.ahead.held_bytes == 4 * SIZE
        await trio.sleep(PATIENCE_SECONDS + 1)
        assert {each.outcome for each in stage.shop.begun.values()} == {"wasted"}
        assert stage.ahead.held_bytes == 0


async def test_no_more_than_the_service_takes_are_under_way_and_the_next_follow_as_they_land() -> None:
    async with stage_of() as stage:
        await stage.open(*range(6))
        stage.shop.begun.clear()
        stage.shop.is_slow = True
        await stage.open(*range(6, 20))
        assert stage.ahead.in_flight == MOST_IN_FLIGHT
        assert len(stage.shop.begun) == MOST_IN_FLIGHT
        for name in sorted(stage.shop.begun)[:3]:
            stage.shop.begun[name].landed.set()
        await wait_all_tasks_blocked()
        assert stage.ahead.in_flight == MOST_IN_FLIGHT
        assert len(stage.shop.begun) == MOST_IN_FLIGHT + 3


async def test_what_is_held_is_bounded_in_files_and_bytes() -> None:
    async with stage_of(ram_bytes=8 * 10 * SIZE) as stage:
        await stage.open(*range(8))
        assert len([each for each in stage.shop.begun.values() if each.outcome == "held"]) <= MOST_HELD
        assert stage.ahead.held_bytes <= 11 * SIZE


async def test_large_and_empty_files_are_left_to_their_readers() -> None:
    async with stage_of({2: LARGEST_BYTES + 1, 3: 0, 4: LARGEST_BYTES}) as stage:
        await stage.open(0, 1)
        assert min(stage.shop.begun) == "f004"


async def test_what_is_here_costs_no_more_than_samples() -> None:
    async with stage_of() as stage:
        stage.shop.here = {f"f{number:03}" for number in range(150)}
        await stage.open(*range(110))
        assert not stage.count("started")
        await stage.open(*range(110, 180))
        assert stage.count("started") > 20, "where it ends, the fetching begins"


async def test_who_is_served_by_the_kernel_sets_nothing_going_before_he_asks_for_bytes() -> None:
    async with stage_of() as stage:
        inos = [(await stage.kernel.walk(at("d", f"f{number:03}"))).ino for number in range(100)]
        for ino in inos[:99]:
            opened = await stage.bench.filesystem.open(ADA, ino, os.O_RDONLY)
            stage.bench.filesystem.release(opened.number)
        assert not stage.shop.begun
        await stage.open(99)
        assert min(stage.shop.begun) == "f100", "what was opened before tells where he goes"


async def test_nothing_is_fetched_ahead_in_an_outage() -> None:
    async with stage_of() as stage:
        await stage.open(0)
        viewer = await stage.bench.access.resolve_viewer(ADA)
        stage.bench.connectivity.note_failure(Unreachable("no network"))
        path = at("d", "f001")
        version = stage.bench.workspace.find(path).version
        assert version is not None
        stage.ahead.file_opened(viewer, path, version, lambda _: stage.bench.access.resolve_viewer(ADA))
        stage.ahead.bytes_asked()
        assert not stage.shop.begun


async def test_it_is_fetched_in_the_name_of_who_opens_and_only_while_he_may() -> None:
    async with stage_of() as stage:
        await stage.open(0, 1)
        await stage.shop.ask_for_viewers()
        assert stage.shop.viewers == {ADA}
        stage.bench.workspace.revoke("ada")
        stage.bench.clock.step(PERMISSION_TTL + 1)
        with pytest.raises(Exception, match="READ VOLUME"):
            await stage.shop.ask_for_viewers()


async def test_who_may_not_read_sets_nothing_going() -> None:
    async with stage_of() as stage:
        inos = [(await stage.kernel.walk(at("d", f"f{number:03}"))).ino for number in range(5)]
        for ino in inos:
            with pytest.raises(Exception, match="no token"):
                await stage.bench.filesystem.open(BOB, ino, os.O_RDONLY)
        assert not stage.shop.begun
