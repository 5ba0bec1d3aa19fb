"""Pins: what they cover, what eviction leaves alone for them, their ceiling, their end, and what a loss leaves of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuse4dbricks.entry import Version
from fuse4dbricks.index import Index, Pin, Selection, Totals, VictimQuery
from fuse4dbricks.index.pinning import MAX_PINS, Cursor, Seen, seen_key
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    VOLUME,
    HandClock,
    checked,
    new_chunk,
    opened,
    outside,
)

NEWER = Version(size=10_000, last_modified=1_700_000_500)
OTHER = VOLUME.child("2024 übera.csv")
ALL = VictimQuery(free_bytes=1 << 40)


def pin_on(path: RemotePath, expires_at: float | None = None) -> Pin:
    return Pin(path, created_by=1000, created_at=1_700_000_000.0, expires_at=expires_at)


def everything(_path: str, _key: int) -> bool:
    return True


async def store(
    index: Index, path: RemotePath = FILE, count: int = 2, version: Version = VERSION, owner: str = "alice"
) -> None:
    chunks = [new_chunk(n, path=path, version=version, owner=owner) for n in range(count)]
    await index.chunks.add(path, version, chunks)


async def settle(index: Index, pin: Pin, wanted: Callable[[str, int], bool] = everything) -> None:
    cursor: Cursor | None = None
    while (cursor := await index.pins.settle(pin, cursor, wanted)) is not None:
        pass
    await index.pins.finish(pin)


async def evict_all(index: Index) -> int:
    gone = 0
    while batch := await index.chunks.take_victims(ALL):
        gone += len(batch)
    return gone


async def test_what_is_stored_under_a_pin_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await store(index, OTHER)
        assert await index.pins.put(pin_on(FOLDER))
        assert index.pins.covers(FILE)
        assert index.pins.covers(FOLDER)
        assert not index.pins.covers(VOLUME)
        assert not index.pins.covers(OTHER)
        await store(index)
        assert index.chunks.get_totals() == Totals(4, 4 * KIB, 2 * KIB)
        assert (await index.chunks.take_selected(Selection())).victims
        assert await evict_all(index) == 0
        assert index.chunks.get_totals() == Totals(2, 2 * KIB, 2 * KIB)
    assert checked(tmp_path).is_clean


async def test_what_was_there_is_marked_and_let_go(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        for number in range(250):
            await store(index, FOLDER.child(f"{number:03}"), 1)
        await store(index, OTHER, 1)
        pin = pin_on(FOLDER, expires_at=clock.unix + 100)
        await index.pins.put(pin)
        await settle(index, pin)
        assert [each.is_settled for each in index.pins.load_all() or []] == [True]
        assert index.chunks.get_totals().pinned_bytes == 250 * KIB
        clock.step(101)
        assert not index.pins.covers(FOLDER)
        (ended,) = index.pins.load_all() or []
        assert ended.has_ended(clock.unix)
        await settle(index, ended, lambda _path, _key: False)
        assert index.pins.load_all() == []
        assert index.chunks.get_totals().pinned_bytes == 0
        assert await evict_all(index) == 251
    assert checked(tmp_path).is_clean


async def test_a_pin_outlives_the_mount_and_the_index(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.pins.put(pin_on(FILE))
        await store(index)
    async with opened(tmp_path) as index:
        assert index.pins.covers(FILE)
        await index.renew()
        assert index.was_rebuilt
        assert index.pins.load_all() == [pin_on(FILE)]
        await store(index)
        assert await evict_all(index) == 0


async def test_a_pin_whose_row_is_damaged_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.pins.put(pin_on(FILE))
    db = outside(tmp_path, write=True)
    db.execute("UPDATE pin SET path = 'main'")
    db.close()
    assert "checksum" in {each.kind for each in checked(tmp_path).findings}
    async with opened(tmp_path) as index:
        assert not index.pins.covers(FILE)
        assert index.pins.load_all() == []


async def test_the_ceiling_holds_for_what_is_stored_and_for_what_was_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.pins.limit(3 * KIB)
        await store(index, FOLDER.child("before"), 2)
        await index.pins.put(pin_on(FOLDER))
        await store(index, count=2)
        await settle(index, pin_on(FOLDER))
        assert index.chunks.get_totals().pinned_bytes == 3 * KIB
        await index.renew()
        await store(index, FOLDER.child("after"), 5)
        assert index.chunks.get_totals().pinned_bytes <= 3 * KIB
    assert checked(tmp_path).is_clean


async def test_versions_that_a_walk_did_not_meet_are_let_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.pins.put(pin_on(VOLUME))
        await store(index)
        await store(index, version=NEWER, count=1)
        await store(index, OTHER, 1)
        await settle(index, pin_on(VOLUME), Seen(frozenset({seen_key(FILE, NEWER)})))
        assert await evict_all(index) == 3
        assert index.chunks.load_span(FILE, NEWER, 0, 9)
        assert not index.chunks.load_span(FILE, VERSION, 0, 9)


async def test_a_pin_that_was_renewed_is_not_finished_by_its_former_end(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.pins.put(pin_on(FILE))
        assert await index.pins.end(FILE)
        assert not await index.pins.end(FILE)
        assert not await index.pins.end(OTHER)
        (ended,) = index.pins.load_all() or []
        await index.pins.put(pin_on(FILE))
        await index.pins.finish(ended)
        assert index.pins.covers(FILE)


async def test_there_are_only_so_many_pins(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for number in range(MAX_PINS):
            assert await index.pins.put(pin_on(VOLUME.child(str(number))))
        assert not await index.pins.put(pin_on(VOLUME.child("one more")))
        assert await index.pins.put(pin_on(VOLUME.child("0"), expires_at=1.0))
