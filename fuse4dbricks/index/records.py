"""What the index takes and gives: plain values, no SQL, no rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuse4dbricks.entry import Entry, Version
from fuse4dbricks.paths import RemotePath


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it was last seen.

    Attributes:
        entry: what was seen; None: that there is no such name.
        fetched_at: Unix time of the observation.
        expires_at: Unix time until which it was to be believed; 0 when it was told to be stale.
    """

    entry: Entry | None
    fetched_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class StoredListing:
    """What is known of a folder's listing as a whole.

    Attributes:
        complete: whether some walk over it ended; what a later walk has seen so far is added to it, and what that
            one does not see goes when it ends.
        fetched_at: Unix time of the last complete walk, or else of the one that was begun.
        expires_at: Unix time until which it was to be believed.
        count: entries stored. Who pages through and finds fewer has met damage and must not call it complete.
    """

    complete: bool
    fetched_at: float
    expires_at: float
    count: int


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """That the workspace let a principal read a volume.

    Attributes:
        proved_at: Unix time of its answer.
        expires_at: Unix time until which that counts.
    """

    proved_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk that is on disk.

    Attributes:
        id: for :meth:`~fuse4dbricks.index.chunks.Chunks.touch`.
        chunk_index: position in the file.
        name: 16 bytes that name the chunk file.
        length: bytes of payload.
        checksum: of the payload, unsigned 64 bits.
    """

    id: int
    chunk_index: int
    name: bytes
    length: int
    checksum: int


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """What is told of a chunk that is on disk to who asks what is cached of a file.

    Attributes:
        chunk_index: position in the file.
        length: bytes of payload.
        owner: user name, or else id, of the principal who caused the fetch; empty when that is not known.
        fetched_at: Unix time at which it was stored.
    """

    chunk_index: int
    length: int
    owner: str
    fetched_at: float


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk file that was just written (or found again).

    Attributes:
        chunk_index, name, length, checksum: as in :class:`ChunkRow`.
        owner: who caused the fetch.
        disk_bytes: what the file takes on the disk; None: ``length``.
        last_access: Unix time of the last use, for chunks found again; None: now.
    """

    chunk_index: int
    name: bytes
    length: int
    checksum: int
    owner: str
    disk_bytes: int | None = None
    last_access: float | None = None


@dataclass(frozen=True, slots=True)
class Foundling:
    """A chunk file that has no row, described by itself.

    Attributes:
        host: the workspace that it is from, which need not be the mount's.
        path, version: of the file that its bytes are of.
        chunk: the rest; ``last_access`` is when it was written.
    """

    host: str
    path: RemotePath
    version: Version
    chunk: NewChunk


@dataclass(frozen=True, slots=True)
class Selection:
    """Which chunks somebody wants gone: those of which all is true that is given here.

    Attributes:
        names: of the chunks; None: any.
        under: a file, or a folder with all that is in it; None: anywhere.
        host: of the workspace; None: any.
        owner: who caused the fetch; None: anybody.
        older_than: Unix time; last used before it; None: whenever.
        protected: as in :class:`VictimQuery`.
        shows: says of a volume whether it is there for who wants it; called in the writer thread; None: all are.
    """

    names: frozenset[bytes] | None = None
    under: RemotePath | None = None
    host: str | None = None
    owner: str | None = None
    older_than: float | None = None
    protected: frozenset[tuple[RemotePath, Version]] = frozenset()
    shows: Callable[[RemotePath], bool] | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one quota is about: the chunks that one user caused to be fetched, or those of one catalog.

    Attributes:
        kind: ``user`` or ``catalog``.
        host: of the workspace.
        name: the user's, as owners are called, or the catalog's.
    """

    kind: str
    host: str
    name: str


@dataclass(frozen=True, slots=True)
class VictimQuery:
    """Which chunks may go: the least recently used, while bytes or files are wanted or their age is over.

    Attributes:
        free_bytes: go on until this much disk is free; None: not for space.
        free_chunks: go on until so many are gone; None: not for their number.
        older_than: everything last used before this Unix time goes; None: not for age.
        protected: versions of files whose chunks are to be left alone, those that open handles read.
        share: only chunks of this one; None: whosever.
    """

    free_bytes: int | None = None
    older_than: float | None = None
    protected: frozenset[tuple[RemotePath, Version]] = frozenset()
    free_chunks: int | None = None
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Victim:
    """A chunk whose row is gone; its file is to be unlinked.

    Attributes:
        name: 16 bytes.
        length: bytes of payload.
        disk_bytes: what :class:`Totals` shrank by.
    """

    name: bytes
    length: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """All chunks of the cache folder, every workspace's.

    Attributes:
        chunks: how many.
        bytes: what they take on the disk.
        pinned_bytes: of these, what eviction leaves alone.
    """

    chunks: int
    bytes: int
    pinned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Pin:
    """A file or folder whose chunks eviction leaves alone.

    Attributes:
        path: of it.
        created_by: local user in whose name it is kept fresh.
        created_at: Unix time.
        expires_at: Unix time; None: never.
        is_settled: whether the marks of its chunks follow it already.
    """

    path: RemotePath
    created_by: int
    created_at: float
    expires_at: float | None
    is_settled: bool = False

    def has_ended(self, now: float) -> bool:
        """Whether it counts no more at the Unix time ``now``."""
        return self.expires_at is not None and self.expires_at <= now
