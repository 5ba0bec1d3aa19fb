import dataclasses
from collections.abc import Sequence

import pytest

from fuse4dbricks.cache.storing import known as known_module
from fuse4dbricks.cache.storing.known import STRETCH, KnownChunks
from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import ChunkRow, NewChunk
from fuse4dbricks.paths import RemotePath
from tests.support.chunkrows import DictRows
from tests.support.indexes import HandClock
from tests.support.labels import PATH

SIZE = 10
LONG = Version(size=3 * STRETCH * SIZE - 4, last_modified=1)


@pytest.fixture
def rows() -> DictRows:
    return DictRows(HandClock())


@pytest.fixture
def unfit() -> list[int]:
    return []


@pytest.fixture
def known(rows: DictRows, unfit: list[int]) -> KnownChunks:
    def on_unfit(_path: RemotePath, _version: Version, indexes: Sequence[int]) -> None:
        unfit.extend(indexes)

    return KnownChunks(rows, SIZE, on_unfit)


def put(rows: DictRows, index: int, length: int = SIZE, version: Version = LONG) -> ChunkRow:
    row = ChunkRow(1000 + index, index, bytes([index % 256]) * 16, length, 7)
    rows.rows[PATH, version, index] = (row, NewChunk(index, row.name, length, 7, "42"))
    return row


def test_a_stretch_is_loaded_once(known: KnownChunks, rows: DictRows) -> None:
    row = put(rows, 5)
    assert known.get(PATH, LONG, 5) is row
    assert known.get(PATH, LONG, 6) is None
    assert known.get_indexes(PATH, LONG, 0, STRETCH) == {5}
    assert rows.loads == 1
    assert known.get_indexes(PATH, LONG, 0, STRETCH + 1) == {5}
    assert rows.loads == 2


def test_only_what_changed_is_asked_again(known: KnownChunks, rows: DictRows) -> None:
    for index in range(10):
        put(rows, index)
    known.get_indexes(PATH, LONG, 0, 10)
    put(rows, 10)
    del rows.rows[PATH, LONG, 3]
    known.forget_chunk(PATH, LONG, 10)
    known.forget_chunk(PATH, LONG, 3)
    known.forget_chunk(PATH, LONG, 2 * STRETCH)  # not remembered: nothing to forget
    assert known.get_indexes(PATH, LONG, 0, STRETCH) == {0, 1, 2, 4, 5, 6, 7, 8, 9, 10}
    assert rows.loads == 3
    known.get_indexes(PATH, LONG, 0, STRETCH)
    assert rows.loads == 3


def test_neighbours_that_changed_together_are_asked_for_together(known: KnownChunks, rows: DictRows) -> None:
    assert known.get_indexes(PATH, LONG, 0, STRETCH) == frozenset()
    for index in (4, 5, 6, 7, 9):
        put(rows, index)
        known.forget_chunk(PATH, LONG, index)
    assert known.get(PATH, LONG, 6) is not None
    assert rows.loads == 2
    assert known.get_indexes(PATH, LONG, 0, 9) == {4, 5, 6, 7}
    assert rows.loads == 2
    assert known.get(PATH, LONG, 9) is not None
    assert rows.loads == 3


def test_versions_and_paths_are_forgotten_apart(known: KnownChunks, rows: DictRows) -> None:
    other = dataclasses.replace(LONG, last_modified=2)
    put(rows, 0)
    put(rows, 0, version=other)
    known.get(PATH, LONG, 0)
    known.get(PATH, other, 0)
    rows.rows.clear()
    known.forget_version(PATH, LONG)
    assert known.get(PATH, LONG, 0) is None
    assert known.get(PATH, other, 0) is not None
    known.clear()
    assert known.get(PATH, other, 0) is None


def test_a_busy_index_is_remembered_as_nothing(known: KnownChunks, rows: DictRows) -> None:
    put(rows, 0)
    rows.is_busy = True
    assert known.get(PATH, LONG, 0) is None
    rows.is_busy = False
    assert known.get(PATH, LONG, 0) is not None
    known.forget_chunk(PATH, LONG, 0)
    rows.is_busy = True
    assert known.get(PATH, LONG, 0) is None
    rows.is_busy = False
    assert known.get(PATH, LONG, 0) is not None


def test_the_last_chunk_is_short_and_other_lengths_do_not_fit(
    known: KnownChunks, rows: DictRows, unfit: list[int]
) -> None:
    last = 3 * STRETCH - 1
    put(rows, last, length=6)
    put(rows, last - 1, length=6)
    put(rows, last - 2, length=SIZE)
    put(rows, 3 * STRETCH, length=SIZE)
    assert known.get_indexes(PATH, LONG, 0, last + 2) == {last, last - 2}
    assert unfit == [last - 1, 3 * STRETCH]


def test_what_is_remembered_is_bounded(
    known: KnownChunks, rows: DictRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "MAX_ROWS", 100)
    versions = [dataclasses.replace(LONG, last_modified=number) for number in range(50)]
    for version in versions:
        put(rows, 0, version=version)
        known.get(PATH, version, 0)
    loads = rows.loads
    known.get(PATH, versions[-1], 0)
    assert rows.loads == loads
    known.get(PATH, versions[0], 0)
    assert rows.loads == loads + 1
