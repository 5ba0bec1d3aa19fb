"""Power lost while the index is written (faults.md F2): it is never corrupt, and what it forgets is only what was not yet synced.

The run is recorded once, and cut again and again at random places, each time with other parts of what was not synced
missing. Two controls, a disk that lies about syncs and an index that asks for none, must be seen to corrupt.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest

from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import VictimQuery
from fuse4dbricks.index.checks import check
from fuse4dbricks.index.chunk_writes import File, add_chunks, take_victims
from fuse4dbricks.index.ops import Op
from fuse4dbricks.index.store import Store
from tests.support.indexes import FILE, HOST, KIB, VERSION, HandClock, chunk_name, new_chunk, outside
from tests.support.torn_disk import Event, TornDisk, recorded
from tests.support.waiting import SLOW_VARIABLE

#: Cuts; 10,000 in the long run.
CUTS = 10_000 if os.environ.get(SLOW_VARIABLE) else 60
ROUNDS = 90
NUMBERS = {chunk_name(FILE, VERSION, number): number for number in range(4 * ROUNDS)}


def record(folder: Path, *pragmas: str) -> list[Event]:
    """A mount's writes: chunks are recorded and evicted, the log is written back, the mount ends and starts again."""
    folder.mkdir()
    with recorded() as events:
        store = Store(folder / "index.sqlite", HOST, HandClock())
        for number in range(ROUNDS):
            if number % 30 == 0:
                store.close(checkpoint=True)
                store.open()
                for pragma in pragmas:
                    store.session.run(pragma)
            rows = tuple(new_chunk(4 * number + n) for n in range(4))
            store.transact([Op(partial(add_chunks, file=File(FILE, VERSION), chunks=rows))])
            events += [Event("ack", "", row.chunk_index) for row in rows]
            if number % 5 == 4:
                write = partial(take_victims, query=VictimQuery(free_bytes=5 * KIB), limit=256)
                (victims,) = store.transact([Op(write)])
                events += [Event("gone", "", NUMBERS[victim.name]) for victim in victims]
            store.tidy_wal(idle=True)
        store.close(checkpoint=False)
    assert any(event.what == "sync" for event in events) or pragmas
    return events


def cut_everywhere(
    tmp_path: Path, events: list[Event], cuts: int, *, lies: bool, look: Callable[[Path, TornDisk], None]
) -> int:
    """Cut the power ``cuts`` times; how many sectors were lost in all."""
    chance = random.Random(cuts)
    disk, position, lost = TornDisk(lies=lies), 0, 0
    for number, place in enumerate(sorted(chance.randrange(len(events)) for _ in range(cuts))):
        disk.go_on(events[position:place])
        position = place
        folder = tmp_path / f"{number}"
        folder.mkdir()
        lost += disk.cut(folder, chance)
        look(folder, disk)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return lost


def is_sound(folder: Path) -> bool:
    """Whether the index opens as it is and nothing in it contradicts itself."""
    store = Store(folder / "index.sqlite", HOST, HandClock())
    try:
        store.open()
        store.close(checkpoint=False)
        return not store.was_rebuilt and not check(folder / "index.sqlite").findings
    except (apsw.Error, IndexUnavailable):
        return False


def recorded_chunks(folder: Path) -> set[int]:
    db = outside(folder)
    try:
        return {row[0] for row in db.execute("SELECT chunk_index FROM chunk") if isinstance(row[0], int)}
    finally:
        db.close()


@pytest.mark.timeout(3600)
def test_no_cut_corrupts_the_index(tmp_path: Path) -> None:
    events = record(tmp_path / "run")
    forgotten = 0

    def look(folder: Path, disk: TornDisk) -> None:
        nonlocal forgotten
        assert is_sound(folder), f"after {len(disk.acknowledged)} rows"
        left = recorded_chunks(folder)
        # Five are evicted at a time, and the last eviction may have been written but not yet told.
        assert len(disk.safe - disk.gone - left) <= 5
        forgotten = max(forgotten, len(disk.acknowledged - disk.gone - left))

    lost = cut_everywhere(tmp_path, events, CUTS, lies=False, look=look)
    assert lost > CUTS
    print(f"{CUTS} cuts, {lost} sectors lost, 0 corrupt, {forgotten} rows forgotten at most")


@pytest.mark.parametrize("control", ["the disk lies about syncs", "the index asks for none"])
def test_the_controls_are_seen_to_corrupt(tmp_path: Path, control: str) -> None:
    lies = control.startswith("the disk")
    events = record(tmp_path / "run", *(() if lies else ("PRAGMA synchronous = OFF",)))
    corrupt = 0

    def look(folder: Path, _disk: TornDisk) -> None:
        nonlocal corrupt
        corrupt += not is_sound(folder)

    cut_everywhere(tmp_path, events, 40, lies=lies, look=look)
    print(f"{control}: {corrupt} of 40 corrupt")
    assert corrupt > 3
