"""What is cached below a path, and what is recorded of chunk files, for another process than the mount's.

The difficulty: it may be a million files, the mount writes meanwhile, and who asks may be a pager that nobody scrolls: no
log is cut back while somebody reads. So files come in pages, each a read of its own that ends before the next is asked
for, and goes on behind the last one by the index of their paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.disk_use import AT_ONCE, VOLUME_PARTS, Folder, Shows, load_disk_use
from fuse4dbricks.index.outside import reading_from_outside
from fuse4dbricks.index.pinning import ALL_PINS, PINS_SINCE, sound_pins
from fuse4dbricks.index.records import Pin
from fuse4dbricks.index.rowsum import to_unsigned
from fuse4dbricks.index.tree_rows import path_ranges
from fuse4dbricks.paths import RemotePath

#: Files of one page: a read of some milliseconds.
PAGE = 1000

_HOSTS = "SELECT id, host FROM workspace WHERE ?1 IS NULL OR host = ?1 ORDER BY host"
_FILES = """
    SELECT f.path, f.version_key, f.size, f.cached_bytes, f.chunks,
           coalesce(sum(c.disk_bytes), 0), f.last_modified, coalesce(max(c.last_access_ms), 0) / 1000.0
    FROM (SELECT * FROM file_version
          WHERE workspace_id = ?1 AND (path, version_key) > (?2, ?3) AND path < ?4
          ORDER BY path, version_key LIMIT ?5) f
    LEFT JOIN chunk c ON c.version_id = f.id GROUP BY f.path, f.version_key ORDER BY f.path, f.version_key"""
_VOLUMES = """
    SELECT v.catalog, v.schema, v.name FROM volume v JOIN workspace w ON w.id = v.workspace_id
    WHERE ?1 IS NULL OR w.host = ?1"""
_PINNED = "SELECT coalesce(sum(pinned_bytes), 0) FROM usage"
_RECORDED = "SELECT length, checksum FROM chunk WHERE name = ?"


class CachedFile(NamedTuple):
    """One version of a file that is cached, in part or as a whole.

    Attributes:
        host: of the workspace.
        path: of the file.
        size: of the whole file, bytes.
        cached_bytes: of it that are cached.
        chunks: in so many chunks.
        disk_bytes: what they take on the disk.
        last_modified: Unix time of the version, if the server gave one.
        last_access: Unix time of the last use.
    """

    host: str
    path: RemotePath
    size: int
    cached_bytes: int
    chunks: int
    disk_bytes: int
    last_modified: int | None
    last_access: float


class Contents:
    """An index that is read from outside; see :func:`contents_of`."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def files(self, under: RemotePath, host: str | None = None, *, page: int = PAGE) -> Iterator[CachedFile]:
        """What is cached of a file, or of all that is in a folder, in the order of paths.

        What the mount adds or evicts meanwhile may be told or not; each file is told once.
        """
        for workspace_id, its_host in self._rows(_HOSTS, (host,)):
            for low, high in path_ranges(under):
                for row in self._pages(workspace_id, low, high, page):
                    yield CachedFile(its_host, RemotePath(tuple(row[0].split("/"))), *row[2:])

    def _pages(self, workspace_id: int, low: str, high: str, page: int) -> Iterator[Row]:
        # No path of a version with this key is left out: it is below all integers.
        after: tuple[str, float] = (low, -math.inf)
        while rows := self._rows(_FILES, (workspace_id, *after, high, page)):
            yield from rows
            if len(rows) < page:
                return
            after = rows[-1][:2]

    def disk_use(
        self, under: RemotePath, host: str | None, shows: Shows, *, at_once: int = AT_ONCE
    ) -> dict[str, int]:
        """What the entries of a folder take; see :func:`~fuse4dbricks.index.disk_use.load_disk_use`."""
        return load_disk_use(self._db, Folder(under, host), shows, at_once)

    def spelled(self, path: RemotePath, host: str | None) -> RemotePath:
        """``path`` with catalog, schema and volume in the spelling in which something of them is cached, if it is."""
        wanted = path.parts[:VOLUME_PARTS]
        found = [row[: len(wanted)] for row in self._rows(_VOLUMES, (host,))]
        if wanted in found:
            return path
        folded = tuple(map(str.lower, wanted))
        spelling = next((each for each in found if tuple(map(str.lower, each)) == folded), wanted)
        return RemotePath((*spelling, *path.parts[VOLUME_PARTS:]))

    def recorded(self, names: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Length and checksum of the chunks of these names that have a row."""
        found = {name: self._rows(_RECORDED, (name,)) for name in names}
        return {name: (rows[0][0], to_unsigned(rows[0][1])) for name, rows in found.items() if rows}

    def pins(self) -> list[tuple[str, Pin]]:
        """All pins whose rows are sound, with their hosts."""
        if int(self._db.pragma("user_version")) < PINS_SINCE:
            return []
        return sound_pins(self._rows(ALL_PINS, ()))

    def pinned_bytes(self) -> int:
        """What is pinned, on the disk."""
        return int(self._rows(_PINNED, ())[0][0])

    def _rows(self, sql: str, binds: Binds) -> list[Row]:
        return self._db.execute(sql, binds).fetchall()


@contextmanager
def contents_of(file: Path) -> Iterator[Contents]:
    """The index ``file``, read-only, for the length of a block.

    Raises:
        CacheFolderError: there is none, it is damaged, another program's or a newer one's.
    """
    with reading_from_outside(file) as db:
        yield Contents(db)
