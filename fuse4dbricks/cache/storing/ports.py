"""What the disk tier needs of the index and of the chunk files.

The index is used through two protocols, for what readers and publishers ask and for what decides on removal, so that
the tests drive the same code with rows in a dict.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from fuse4dbricks.chunks import ChunkLabel, ChunkName, FoundChunk
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import CacheError
from fuse4dbricks.index.records import ChunkRow, Foundling, NewChunk, Selection, Totals, Victim, VictimQuery
from fuse4dbricks.index.selecting import Batch
from fuse4dbricks.index.shares import Shares
from fuse4dbricks.paths import RemotePath


class ChunkRows(Protocol):
    """Which chunks there are."""

    def load_span(
        self, path: RemotePath, version: Version, first: int, stop: int, /
    ) -> dict[int, ChunkRow] | None:
        """Rows of the chunks [first, stop) by index; None when they cannot be read now."""
        ...

    def touch(self, row_id: int, /) -> None:
        """The chunk was used."""
        ...

    async def add(self, path: RemotePath, version: Version, rows: Sequence[NewChunk], /) -> None:
        """Record chunk files; committed on return. ``IndexUnavailable``."""
        ...

    async def remove(
        self, path: RemotePath, version: Version, indexes: Sequence[int] | None, /
    ) -> list[bytes]:
        """Delete rows (None: all of the version); committed on return. ``IndexUnavailable``."""
        ...


class NamedRows(Protocol):
    """Rows by the names of their files."""

    def load_names(self, names: Sequence[bytes], /) -> set[bytes] | None:
        """Which of the chunk names have a row; None when that cannot be told now."""
        ...

    async def list_names(self, shards: range, /) -> list[bytes]:
        """The chunk names in some neighbouring shards that have a row. ``IndexUnavailable``."""
        ...

    async def adopt(self, found: Sequence[Foundling], /) -> list[bytes]:
        """Record files that have no row; the names of those that another one stands in the way of.

        ``IndexUnavailable``.
        """
        ...


class VictimRows(Protocol):
    """Which chunks may go, and what they all take."""

    async def take_victims(self, want: VictimQuery, limit: int = 256, /) -> list[Victim]:
        """Delete the rows of the oldest chunks; committed on return. ``IndexUnavailable``."""
        ...

    async def take_selected(self, selection: Selection, after: int = 0, limit: int = 256, /) -> Batch:
        """Delete the next rows of a selection; committed on return. ``IndexUnavailable``."""
        ...

    async def count_again(self) -> None:
        """Make the totals anew. ``IndexUnavailable``."""
        ...

    def get_totals(self) -> Totals:
        """Of all chunks in the folder."""
        ...

    async def track_shares(self) -> None:
        """Have :meth:`get_shares` answer from now on. ``IndexUnavailable``."""
        ...

    def get_shares(self) -> Shares | None:
        """What each user and each catalog takes; None: not known."""
        ...


class ChunkIndex(ChunkRows, NamedRows, VictimRows, Protocol):
    """All of them."""


class IndexPort(Protocol):
    """The index, as far as chunks go."""

    @property
    def chunks(self) -> ChunkIndex:
        """The rows of chunks."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether it knows all chunk files; not after it was begun anew, until somebody has looked at them."""
        ...

    @property
    def epoch(self) -> int:
        """Changes when it is begun anew."""
        ...

    def tell_renewed(self, call: Callable[[], object], /) -> None:
        """Have ``call`` called, in the loop, whenever it was begun anew."""
        ...

    async def note_complete(self, epoch: int, /) -> None:
        """All files that were there in ``epoch`` have been looked at. ``IndexUnavailable``."""
        ...

    async def renew(self) -> None:
        """Begin anew. ``IndexUnavailable``."""
        ...


class ChunkFiles(Protocol):
    """Finding and deleting chunk files, apart from writing and reading them."""

    def remove(self, names: Iterable[ChunkName], /) -> None:
        """In a thread. ``CacheError`` when one could not be deleted."""
        ...

    def list_shard(self, shard: int, /) -> list[ChunkName]:
        """In a thread. ``CacheError``."""
        ...

    def load_found(self, name: ChunkName, /) -> FoundChunk:
        """In a thread: what the file says it is. ``ChunkUnusable``, ``CacheError``."""
        ...

    def find_missing(self, names: Iterable[ChunkName], /) -> list[ChunkName]:
        """In a thread: which have no file. ``CacheError``."""
        ...

    def sweep_temporary(self) -> int:
        """In a thread. ``CacheError``."""
        ...


#: What protects chunks from eviction: an open handle on this version of this file.
Held = tuple[RemotePath, Version]


def held_by(label: ChunkLabel) -> Held:
    """The version of the file that a chunk is of."""
    return (label.path, label.version)


def is_full(error: CacheError) -> bool:
    """Whether the disk refused for want of space rather than for illness."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}
