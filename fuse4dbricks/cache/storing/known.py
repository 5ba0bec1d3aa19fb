"""Which chunks are on disk, remembered in stretches, so that a warm read asks no SQL.

The difficulty: a row costs 5 to 10 µs to load, as much as the read itself, and a sequential reader asks for each
chunk many times. So rows are loaded 128 at a time and kept; whatever changes a row tells, and then the row (or,
for eviction, which takes any, everything) is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuse4dbricks.cache.storing.ports import ChunkRows
from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import ChunkRow
from fuse4dbricks.paths import RemotePath

#: Chunks per stretch; loading one takes about 0.1 ms.
STRETCH = 128

#: Rows remembered, some 200 bytes each; a stretch counts as at least this many, so that empty ones are bounded too.
MAX_ROWS = 65_536
STRETCH_COST = 8

#: By chunk index; None: ask again. What is not in it is not on disk.
_Rows = dict[int, ChunkRow | None]


@dataclass(slots=True)
class _Stretch:
    rows: _Rows
    cost: int


class KnownChunks:
    """The rows of chunks that readers ask about. For the loop only.

    Args:
        index: where rows come from.
        chunk_size: of this mount.
        on_unfit: told of rows whose chunks have another length than this mount's (a former chunk size).
    """

    def __init__(
        self,
        index: ChunkRows,
        chunk_size: int,
        on_unfit: Callable[[RemotePath, Version, Sequence[int]], None],
    ) -> None:
        self._index = index
        self._chunk_size = chunk_size
        self._on_unfit = on_unfit
        self._stretches: dict[tuple[RemotePath, Version, int], _Stretch] = {}
        self._cost = 0

    def get(self, path: RemotePath, version: Version, chunk_index: int) -> ChunkRow | None:
        """The row of a chunk, or None when it is not on disk, as far as can be told at once."""
        rows = self._get_rows(path, version, chunk_index // STRETCH)
        row = rows.get(chunk_index)
        if row is None and chunk_index in rows:
            row = self._ask_again(path, version, chunk_index, rows)
        return row

    def get_indexes(self, path: RemotePath, version: Version, first: int, stop: int) -> frozenset[int]:
        """Which of the chunks [first, stop) are on disk."""
        known: list[int] = []
        for number in range(first // STRETCH, -(-stop // STRETCH)):
            rows = self._get_rows(path, version, number)
            known += (
                index
                for index in range(max(first, number * STRETCH), min(stop, (number + 1) * STRETCH))
                if index in rows and (rows[index] or self._ask_again(path, version, index, rows))
            )
        return frozenset(known)

    def forget_chunk(self, path: RemotePath, version: Version, chunk_index: int) -> None:
        """The chunk's row has changed."""
        stretch = self._stretches.get((path, version, chunk_index // STRETCH))
        if stretch is not None:
            stretch.rows[chunk_index] = None

    def forget_version(self, path: RemotePath, version: Version) -> None:
        """All rows of a version have changed."""
        for key in [key for key in self._stretches if key[0] == path and key[1] == version]:
            self._drop(key)

    def clear(self) -> None:
        """Any row may have changed."""
        self._stretches.clear()
        self._cost = 0

    def _get_rows(self, path: RemotePath, version: Version, number: int) -> _Rows:
        key = (path, version, number)
        stretch = self._stretches.get(key)
        if stretch is not None:
            return stretch.rows
        rows = self._load(path, version, number * STRETCH, (number + 1) * STRETCH)
        if rows is None:
            return {}
        self._stretches[key] = _Stretch(rows, len(rows) + STRETCH_COST)
        self._cost += len(rows) + STRETCH_COST
        while self._cost > MAX_ROWS and len(self._stretches) > 1:
            self._drop(next(iter(self._stretches)))
        return rows

    def _ask_again(
        self, path: RemotePath, version: Version, chunk_index: int, rows: _Rows
    ) -> ChunkRow | None:
        """The row; together with its neighbours' that have changed too: chunks are stored several at a time."""
        first, stop = chunk_index, chunk_index + 1
        while first - 1 in rows and rows[first - 1] is None:
            first -= 1
        while stop in rows and rows[stop] is None:
            stop += 1
        loaded = self._load(path, version, first, stop)
        if loaded is None:
            return None
        for index in range(first, stop):
            del rows[index]
        rows.update(loaded)
        return loaded.get(chunk_index)

    def _load(self, path: RemotePath, version: Version, first: int, stop: int) -> _Rows | None:
        found = self._index.load_span(path, version, first, stop)
        if found is None:
            return None
        fit: _Rows = {}
        unfit = []
        for index, row in found.items():
            if row.length == min(self._chunk_size, version.size - index * self._chunk_size):
                fit[index] = row
            else:
                unfit.append(index)
        if unfit:
            self._on_unfit(path, version, unfit)
        return fit

    def _drop(self, key: tuple[RemotePath, Version, int]) -> None:
        self._cost -= self._stretches.pop(key).cost
