"""What is cached of one version of a file, in all layers.

The difficulty: the answer is spread over RAM, where chunks come and go, and rows of which there may be a million, and it
is wanted where nobody may be kept waiting: ``ls`` asks for the extended attributes of each file. So it is put together
without a call to the workspace and without a thread, a page of rows at a time, and others run in between.

Who asks has been admitted by the caller: what is cached is as protected as what is remote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import HeldChunk
from fuse4dbricks.paths import RemotePath

#: Rows that are read before others run: about 1 ms.
PAGE_ROWS = 1000

#: Byte ranges [first, stop), in order and apart from each other.
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """What is cached of one version of a file.

    Attributes:
        size: of the whole file, bytes.
        ram: what is in RAM.
        disk: what is in chunk files.
        cached: what is in either.
        owners: who caused the fetches of what is on disk, in the order of the file.
        fetched_at: Unix time of the newest chunk on disk; None when there is none.
        is_pinned: whether eviction is told to leave the file alone.
    """

    size: int
    ram: Ranges = ()
    disk: Ranges = ()
    cached: Ranges = ()
    owners: tuple[str, ...] = ()
    fetched_at: float | None = None
    is_pinned: bool = False

    @property
    def cached_bytes(self) -> int:
        """Bytes that a read would find here."""
        return sum(stop - first for first, stop in self.cached)

    @property
    def is_complete(self) -> bool:
        """Whether a read of the whole file needs nobody else."""
        return self.cached_bytes == self.size


class HoldingRows(Protocol):
    """The rows of chunk files."""

    def load_held(
        self, path: RemotePath, version: Version, first: int, limit: int, /
    ) -> Sequence[HeldChunk] | None:
        """At most ``limit`` rows from chunk ``first`` on, in order; None when that cannot be told now."""
        ...


class HeldInRam(Protocol):
    """The chunks in RAM."""

    @property
    def chunk_size(self) -> int:
        """Bytes of each but the last of a file."""
        ...

    def get_complete(self, path: RemotePath, version: Version, /) -> Collection[int]:
        """The indexes of those that are there as a whole."""
        ...


class Holdings:
    """Answers what is cached of a file.

    Args:
        rows: None where there is no disk cache.
        ram: the other layer.
        is_pinned: whether eviction is told to leave the file at a path alone.
    """

    def __init__(
        self,
        rows: HoldingRows | None,
        ram: HeldInRam,
        is_pinned: Callable[[RemotePath], bool] = lambda _path: False,
    ) -> None:
        self._rows = rows
        self._ram = ram
        self.is_pinned = is_pinned

    def get_beginning(self, path: RemotePath, version: Version) -> Holding:
        """What is cached of its first :data:`PAGE_ROWS` chunks, and those in RAM: enough to tell whether there is any."""
        return self._described(path, version, self._load(path, version, 0))

    async def survey(self, path: RemotePath, version: Version) -> Holding:
        """What is cached of the whole file."""
        rows: list[HeldChunk] = []
        page = self._load(path, version, 0)
        while page:
            rows += page
            await trio.lowlevel.checkpoint()
            page = self._load(path, version, page[-1].chunk_index + 1) if len(page) == PAGE_ROWS else ()
        return self._described(path, version, rows)

    def _load(self, path: RemotePath, version: Version, first: int) -> Sequence[HeldChunk]:
        found = None if self._rows is None else self._rows.load_held(path, version, first, PAGE_ROWS)
        return () if found is None else found

    def _described(self, path: RemotePath, version: Version, rows: Sequence[HeldChunk]) -> Holding:
        size = self._ram.chunk_size
        # Chunks of another length are of a mount with another chunk size: this one does not read them.
        fit = [row for row in rows if row.length == _length(row.chunk_index, size, version.size)]
        ram, disk = set(self._ram.get_complete(path, version)), {row.chunk_index for row in fit}
        return Holding(
            size=version.size,
            ram=_ranges(ram, size, version.size),
            disk=_ranges(disk, size, version.size),
            cached=_ranges(ram | disk, size, version.size),
            owners=tuple(dict.fromkeys(row.owner for row in fit if row.owner)),
            fetched_at=max((row.fetched_at for row in fit), default=None),
            is_pinned=self.is_pinned(path),
        )


def _length(index: int, chunk_size: int, file_size: int) -> int:
    return min(chunk_size, file_size - index * chunk_size)


def _ranges(indexes: Iterable[int], chunk_size: int, file_size: int) -> Ranges:
    ranges: list[tuple[int, int]] = []
    for index in sorted(indexes):
        first, stop = index * chunk_size, min((index + 1) * chunk_size, file_size)
        if ranges and ranges[-1][1] == first:
            ranges[-1] = (ranges[-1][0], stop)
        else:
            ranges.append((first, stop))
    return tuple(ranges)
