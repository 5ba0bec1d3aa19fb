"""What is cached below a path, and what is recorded of chunk files, for another process than the mount's.

The difficulty: it may be a million chunks, and the mount writes meanwhile. So each question is one statement on a
read-only connection, and who asks waits for locks and not the mount. The files of a million chunks take some 5 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from fuse4dbricks.index.connection import Row
from fuse4dbricks.index.outside import reading_from_outside
from fuse4dbricks.index.pinning import ALL_PINS, PINS_SINCE, sound_pins
from fuse4dbricks.index.records import Pin
from fuse4dbricks.index.rowsum import to_unsigned
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.paths import RemotePath

_FILES = """
    SELECT w.host, v.path, v.size, v.cached_bytes, v.chunks, v.last_modified,
           (SELECT sum(disk_bytes) FROM chunk c WHERE c.version_id = v.id),
           (SELECT max(last_access_ms) FROM chunk c WHERE c.version_id = v.id)
    FROM file_version v JOIN workspace w ON w.id = v.workspace_id
    WHERE (?1 = '' OR v.path = ?1 OR (v.path > ?1 || '/' AND v.path < ?1 || '0')) AND (?2 IS NULL OR w.host = ?2)
    ORDER BY w.host, v.path, v.version_key"""
_PINNED = "SELECT coalesce(sum(pinned_bytes), 0) FROM usage"
_RECORDED = "SELECT length, checksum FROM chunk WHERE name = ?"


@dataclass(frozen=True, slots=True)
class CachedFile:
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

    def files(self, under: RemotePath, host: str | None = None) -> Iterator[CachedFile]:
        """What is cached of a file, or of all that is in a folder, in the order of paths."""
        for row in self._rows(_FILES, (index_path(under), host)):
            size, cached, chunks, modified, disk, used = row[2:]
            path = RemotePath(tuple(row[1].split("/")))
            yield CachedFile(row[0], path, size, cached, chunks, disk or 0, modified, (used or 0) / 1000)

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

    def _rows(self, sql: str, binds: tuple[str | bytes | None, ...]) -> list[Row]:
        return self._db.execute(sql, binds).fetchall()


@contextmanager
def contents_of(file: Path) -> Iterator[Contents]:
    """The index ``file``, read-only, for the length of a block.

    Raises:
        CacheFolderError: there is none, it is damaged, another program's or a newer one's.
    """
    with reading_from_outside(file) as db:
        yield Contents(db)
