"""What nobody has asked about for months goes; what anybody needs stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.cache import pruning
from fuse4dbricks.cache.pruning import run_pruning
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import Index
from tests.support.indexes import (
    FILE,
    FOLDER,
    HOST,
    VERSION,
    VOLUME,
    HandClock,
    new_chunk,
    opened,
    outside,
    post_walk,
)

DAY = 86_400.0
OTHER = VOLUME.child("other")


async def prune(index: Index, before: float) -> None:
    after: int | None = 0
    while after is not None:
        after = await index.prune(after, before)
    await index.flush()


def is_known(index: Index, name: str) -> bool:
    return index.tree.load_entry(OTHER.child(name), None) is not None


async def test_a_folder_goes_of_which_nothing_was_seen_for_long(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for number in range(450):  # several batches
            post_walk(index, OTHER.child(f"folder{number}"), [[Entry("a", Kind.FILE, VERSION)]])
        post_walk(index, OTHER, [[Entry("a", Kind.FILE, VERSION)]], fetched_at=500.0)
        await index.flush()
        await prune(index, before=400.0)
        assert index.tree.load_listing(OTHER.child("folder7"), None) is None
        assert index.tree.load_entry(OTHER.child("folder449").child("a"), None) is None
        assert is_known(index, "a")
    with outside(tmp_path) as db:
        assert db.execute("SELECT path FROM folder WHERE workspace_id IS NOT NULL").fetchall() == [
            ("/".join(OTHER.parts),)
        ]


async def test_one_name_seen_lately_keeps_its_folder(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, OTHER, [[Entry("a", Kind.FILE, VERSION), Entry("b", Kind.FILE, VERSION)]])
        index.tree.post_entry(
            OTHER.child("b"), None, Entry("b", Kind.FILE, VERSION), fetched_at=500.0, expires_at=530.0
        )
        await index.flush()
        await prune(index, before=400.0)
        assert is_known(index, "a")


async def test_names_above_cached_bytes_stay_for_an_outage(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for folder, name in ((VOLUME, FOLDER.name), (FOLDER, FILE.name)):
            kind = Kind.FILE if folder == FOLDER else Kind.DIRECTORY
            post_walk(index, folder, [[Entry(name, kind, VERSION if kind is Kind.FILE else None)]])
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        await prune(index, before=400.0)
        assert index.tree.load_entry(FILE, None) is not None
        assert index.tree.load_entry(FOLDER, None) is not None
        assert index.chunks.load_span(FILE, VERSION, 0, 1)


async def test_a_folder_that_was_forgotten_can_be_seen_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, OTHER, [[Entry("a", Kind.FILE, VERSION)]])
        await index.flush()
        await prune(index, before=400.0)
        post_walk(index, OTHER, [[Entry("b", Kind.FILE, VERSION)]], fetched_at=500.0)
        await index.flush()
        assert is_known(index, "b")
        assert not is_known(index, "a")


async def test_owners_volumes_and_workspaces_of_which_nothing_is_left_go(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock, workspace="gone.example") as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(owner="ann")])
        index.counters.post_counts({"read.misses": 3})
        await index.flush()
        assert len(await index.chunks.remove(FILE, VERSION, None)) == 1
    clock.step(100 * DAY)
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(owner="bob")])
        index.counters.post_counts({"read.misses": 4})
        await index.flush()
        await prune(index, before=clock.wall() - 90 * DAY)
        await prune(index, before=clock.wall() - 90 * DAY)
        await index.chunks.add(FILE, VERSION, [new_chunk(1, owner="ann")])
    with outside(tmp_path) as db:
        assert db.execute("SELECT host FROM workspace").fetchall() == [(HOST,)]
        assert db.execute("SELECT sum(value) FROM stat_counter").fetchall() == [(4,)]
        assert sorted(db.execute("SELECT name FROM owner").fetchall()) == [("ann",), ("bob",)]
        assert db.execute("SELECT count(*) FROM volume").fetchall() == [(1,)]


class Asked:
    """Notes what it is asked to forget."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, float]] = []

    async def prune(self, after: int, before: float) -> int | None:
        await trio.lowlevel.checkpoint()
        self.asked.append((after, before))
        if not self.answers:
            raise IndexUnavailable("not now")
        return self.answers.pop(0)


class LoopClock:
    """The wall is the loop's clock and what it was set by."""

    set_by = 0.0

    def monotonic(self) -> float:
        return trio.current_time()

    def wall(self) -> float:
        return 2e9 + trio.current_time() + self.set_by


@pytest.mark.parametrize(("max_age", "kept"), [(0.0, 90), (30 * DAY, 90), (365 * DAY, 365)])
async def test_it_begins_late_and_comes_back_daily_even_if_the_index_was_sick(
    autojump_clock: MockClock, max_age: float, kept: int
) -> None:
    rows, clock, began = Asked(7, None), LoopClock(), trio.current_time()
    with trio.move_on_after(pruning.FIRST + 2.5 * DAY):
        await run_pruning(rows, clock, max_age)
    assert [after for after, _ in rows.asked] == [0, 7, 0, 0]
    assert rows.asked[0][1] == pytest.approx(2e9 + began + pruning.FIRST - kept * DAY)


async def test_a_clock_that_was_set_makes_nothing_old(autojump_clock: MockClock) -> None:
    rows, clock = Asked(None), LoopClock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_pruning, rows, clock, 0.0)
        await trio.sleep(1)
        clock.set_by = 5 * 365 * DAY
        await trio.sleep(pruning.FIRST + 1)
        assert rows.asked == []
        nursery.cancel_scope.cancel()
