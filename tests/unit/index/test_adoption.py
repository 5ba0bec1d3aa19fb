"""Recording chunk files again, and forgetting what somebody points out."""

from pathlib import Path

import pytest

from fuse4dbricks.index import Foundling, Index, Selection
from fuse4dbricks.index.workspaces import NOBODY
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal
from tests.support.indexes import FILE, FOLDER, HOST, KIB, VERSION, HandClock, checked, new_chunk, opened

OTHER_HOST = "adb-2.azuredatabricks.net"


def foundling(index: int, host: str = HOST, path: RemotePath = FILE) -> Foundling:
    made = new_chunk(index, path=path, salt="" if host == HOST else host)
    return Foundling(host, path, VERSION, made)


def is_complete(index: Index) -> bool:
    """Asked anew each time: a type checker takes a property for a constant."""
    return index.is_complete


def indexes_of(index: Index, path: RemotePath = FILE) -> set[int]:
    return set(index.chunks.load_span(path, VERSION, 0, 100) or ())


async def test_found_files_get_rows_under_their_own_workspace(tmp_path: Path) -> None:
    async with opened(tmp_path, workspace=NOBODY) as index:
        found = [foundling(n, host) for n in range(3) for host in (HOST, OTHER_HOST)]
        assert await index.chunks.adopt(found) == []
        assert index.chunks.get_totals().chunks == 6
    for host in (HOST, OTHER_HOST):
        async with opened(tmp_path, workspace=host) as index:
            assert indexes_of(index) == {0, 1, 2}
            assert len(index.fingerprint_key) == 32
    assert checked(tmp_path).is_clean


async def test_what_has_a_row_keeps_it_and_what_stands_in_its_place_is_not_wanted(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        before = index.chunks.load_span(FILE, VERSION, 0, 1)
        rival = new_chunk(0, salt="another chunk size")
        assert await index.chunks.adopt([foundling(0), Foundling(HOST, FILE, VERSION, rival)]) == [rival.name]
        assert index.chunks.load_span(FILE, VERSION, 0, 1) == before
    assert checked(tmp_path).is_clean


async def test_it_is_complete_when_somebody_has_looked_at_all_files_of_this_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        assert not is_complete(index)
        epoch = index.epoch
        await index.renew()
        await index.note_complete(epoch)  # of the former one
        assert not is_complete(index)
        await index.note_complete(index.epoch)
        assert is_complete(index)
    async with opened(tmp_path) as index:
        assert is_complete(index)
        key = index.fingerprint_key
        await index.renew()
        assert not is_complete(index)
        assert index.fingerprint_key == key


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        index.grants.post_principal(b"x" * 16, 1, Principal("17", "alice@example.com"))
        for number, owner in enumerate(("17", "18")):
            path = FOLDER.child(f"{number}.csv")
            rows = [new_chunk(n, path=path, owner=owner) for n in range(4)]
            await index.chunks.add(path, VERSION, rows)
            clock.step(1000)
        await index.chunks.adopt([foundling(n, OTHER_HOST) for n in range(4)])
    return tmp_path


async def count_taken(folder: Path, selection: Selection, limit: int = 3) -> int:
    taken = 0
    async with opened(folder) as index:
        cursor: int | None = 0
        while cursor is not None:
            batch = await index.chunks.take_selected(selection, cursor, limit)
            assert len(batch.victims) <= limit or selection.names is not None
            taken, cursor = taken + len(batch.victims), batch.cursor
        assert index.chunks.get_totals().chunks == 12 - taken
        assert index.chunks.get_totals().bytes == (12 - taken) * KIB
    assert checked(folder).is_clean
    return taken


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), 12),
        (Selection(under=RemotePath()), 12),
        (Selection(under=FOLDER), 12),
        (Selection(under=FOLDER.child("1.csv")), 4),
        (Selection(under=FOLDER.child("1.cs")), 0),
        (Selection(host=OTHER_HOST), 4),
        (Selection(under=FOLDER.child("1.csv"), host=OTHER_HOST), 0),
        (Selection(owner="alice@example.com"), 4),
        (Selection(owner="17"), 4),
        (Selection(owner="18", older_than=HandClock().unix), 0),
        (Selection(older_than=HandClock().unix + 500), 4),
        (Selection(protected=frozenset([(FOLDER.child("0.csv"), VERSION)])), 8),
        (Selection(names=frozenset([new_chunk(2, path=FOLDER.child("0.csv")).name, b"?" * 16])), 1),
    ],
)
async def test_what_is_pointed_out_is_taken_and_nothing_else(
    filled: Path, selection: Selection, expected: int
) -> None:
    assert await count_taken(filled, selection) == expected
