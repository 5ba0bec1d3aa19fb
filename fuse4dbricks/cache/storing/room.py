"""How much of the disk, and how many files, the cache takes, counting what the index does not know of (yet, or any more).

The difficulty: the limit must hold as ``du`` sees it, while several chunks are being written that have no row, and
deleted ones still have their file although their row is gone; and the index itself takes space too. So used space
is the rows' sum, plus what is reserved by writers, plus what is waiting to be unlinked, plus the index and the folders.
Where these last take the whole limit nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fuse4dbricks.index.records import Totals
from fuse4dbricks.units import KIB, MIB

#: Eviction starts here, before the limit is reached, and frees down to there (design section 4).
START_FRACTION = 0.97
TARGET_FRACTION = 0.95


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """What bounds the disk cache.

    Attributes:
        max_bytes: of the whole cache folder; 0: no disk cache.
        max_age_seconds: chunks not used for so long go; None or 0: however old.
        min_free_fraction: of the file system, to be left free for others.
        min_free_bytes: the same as an amount; when it is given the fraction does not count.
        max_files: chunk files in the folder; 0: however many.
        user_bytes: of the chunks that one user caused to be fetched; 0: no quota.
        catalog_bytes: of the chunks of one catalog; 0: no quota.
    """

    max_bytes: int
    max_age_seconds: float | None = None
    min_free_fraction: float = 0.05
    min_free_bytes: int | None = None
    max_files: int = 0
    user_bytes: int = 0
    catalog_bytes: int = 0

    def get_margin(self, total: int) -> int:
        """Bytes to be left free on a file system of ``total`` bytes."""
        return int(total * self.min_free_fraction) if self.min_free_bytes is None else self.min_free_bytes


#: Files that no folder ever holds.
NO_LIMIT = 1 << 62

#: The index grows by some 50 KiB with each commit, also for reasons of its own, until its log is written back. So much of the limit, though no more than an eighth, is left to what it grows between two looks at it.
INDEX_GROWTH = 8 * MIB

#: The same for the disk's margin, where there is a look with each chunk.
SPARE_GROWTH = 256 * KIB


class Room:
    """The account of one cache folder. For the loop only.

    Args:
        limit: bytes that the folder may take.
        get_recorded: all chunks that have a row.
        max_files: chunk files that it may hold; 0: any number.

    Attributes:
        limit: what the folder may take by this account.
        reserved: bytes of chunks being written.
        leaving: bytes of files whose row is gone.
        overhead: bytes of all that is neither chunk nor index; None until somebody has looked.
        index: bytes of the index.
        wanted: bytes that writers wait for.
        max_files: chunk files that the folder may hold.
        reserved_files, leaving_files, wanted_files: as the above, in chunk files.
        spare: bytes that the file system had beyond the margin, when somebody looked, less what was reserved since.
    """

    def __init__(self, limit: int, get_recorded: Callable[[], Totals], max_files: int = 0) -> None:
        self.limit = limit - min(INDEX_GROWTH, limit // 8)
        self.reserved = 0
        self.leaving = 0
        self.overhead: int | None = None
        self.index = 0
        self.wanted = 0
        self.spare = 0
        self.max_files = max_files or NO_LIMIT
        self.reserved_files = self.leaving_files = self.wanted_files = 0
        self._get_recorded = get_recorded

    @property
    def used(self) -> int:
        """Bytes that the folder takes at most."""
        return self._get_recorded().bytes + self.reserved + self.leaving + (self.overhead or 0) + self.index

    @property
    def used_files(self) -> int:
        """Chunk files that are there at most."""
        return self._get_recorded().chunks + self.reserved_files + self.leaving_files

    @property
    def is_short(self) -> bool:
        """Whether eviction should start."""
        return self.used + self.wanted > self.limit * START_FRACTION

    @property
    def is_crowded(self) -> bool:
        """The same for the number of files."""
        return self.used_files + self.wanted_files > self.max_files * START_FRACTION

    @property
    def excess(self) -> int:
        """Bytes to free now; 0 as long as :attr:`is_short` is not true."""
        if not self.is_short:
            return 0
        return self.used - int(min(self.limit * TARGET_FRACTION, self.limit - self.wanted)) - self.leaving

    @property
    def excess_files(self) -> int:
        """Files to delete now."""
        if not self.is_crowded:
            return 0
        target = int(min(self.max_files * TARGET_FRACTION, self.max_files - self.wanted_files))
        return self.used_files - max(0, target) - self.leaving_files

    @property
    def shortage(self) -> int:
        """Bytes to free so that who waits finds spare space; 0 where others have used up the margin itself."""
        if not self.wanted or self.spare < 0:
            return 0
        return max(0, self.wanted + SPARE_GROWTH - self.spare)

    def fits(self, size: int) -> bool:
        """Whether ``size`` more bytes may be written now."""
        return (
            self.overhead is not None
            and self.used + size <= self.limit
            and self.used_files < self.max_files
            and size + SPARE_GROWTH <= self.spare
        )

    @contextmanager
    def reserving(self, size: int) -> Iterator[None]:
        """Count a file of ``size`` bytes as used, until the row that records it is there."""
        self.reserved += size
        self.reserved_files += 1
        self.spare -= size
        try:
            yield
        finally:
            self.reserved -= size
            self.reserved_files -= 1

    @contextmanager
    def parting(self, size: int, files: int) -> Iterator[None]:
        """Count ``size`` bytes of ``files`` whose rows are gone, until they are unlinked."""
        self.leaving += size
        self.leaving_files += files
        try:
            yield
        finally:
            self.leaving -= size
            self.leaving_files -= files

    @contextmanager
    def wanting(self, size: int) -> Iterator[None]:
        """Let eviction know of a writer that waits to store a file of ``size`` bytes."""
        self.wanted += size
        self.wanted_files += 1
        try:
            yield
        finally:
            self.wanted -= size
            self.wanted_files -= 1
