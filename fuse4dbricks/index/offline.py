"""Which files could be read with no network: names that are known, with the bytes that are here of just that version.

The difficulty: the tree and the chunks know nothing of each other, so chunks of an older version, or of a file that
no folder shows any more, take room and cannot be read. What counts is what a mount would do: find the name, take its
version, and look for chunks of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.index.connection import Row
from fuse4dbricks.index.outside import reading_from_outside
from fuse4dbricks.index.rowsum import version_key
from fuse4dbricks.index.tree_rows import ENTRY_COLUMNS, SHARED, Place, entry_rowsum, index_path, parse_entry
from fuse4dbricks.paths import RemotePath

_DENTRY = ", ".join(f"d.{column}" for column in ENTRY_COLUMNS.split(", "))
_NAMES = f"""
    SELECT w.id, w.host, f.path, d.rowsum, {_DENTRY}
    FROM dentry d JOIN folder f ON f.id = d.folder_id JOIN workspace w ON w.id = f.workspace_id
    WHERE d.viewer = '{SHARED}' AND d.kind = {int(Kind.FILE)} AND (?2 IS NULL OR w.host = ?2)
      AND (?1 = '' OR f.path = ?1 OR (f.path > ?1 || '/' AND f.path < ?1 || '0') OR (f.path = ?3 AND d.name = ?4))
    ORDER BY w.host, f.path, d.name"""  # noqa: S608 - constants of this package; values are bound
_VERSION = "SELECT id, cached_bytes FROM file_version WHERE workspace_id = ? AND path = ? AND version_key = ?"
_CHUNKS = "SELECT name FROM chunk WHERE version_id = ? ORDER BY chunk_index"


@dataclass(frozen=True, slots=True)
class OfflineFile:
    """A file as a mount without a network would find it.

    Attributes:
        host: of the workspace.
        path: of the file.
        version: that its folder shows.
        cached_bytes: of that version that are here.
        version_id: of the index's row; None: there is none, as for a file that is empty.
        fetched_at: Unix time at which its folder was last seen.
    """

    host: str
    path: RemotePath
    version: Version
    cached_bytes: int
    version_id: int | None
    fetched_at: float

    @property
    def is_complete(self) -> bool:
        """Whether all of it can be read."""
        return self.cached_bytes >= self.version.size

    @property
    def is_here(self) -> bool:
        """Whether any of it can be read."""
        return self.cached_bytes > 0 or self.version.size == 0


class OfflineIndex:
    """An index that is read from outside; see :func:`offline_index`."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def files(self, under: RemotePath, host: str | None = None) -> Iterator[OfflineFile]:
        """A file, or all files below a folder, of which something is here; in the order of paths."""
        return (file for file in self._known(under, host) if file.is_here)

    def find(self, path: RemotePath, host: str) -> OfflineFile | None:
        """The file of that name, if its folder shows one, whether any of it is here or not."""
        return next((file for file in self._known(path, host) if file.path == path), None)

    def chunk_names(self, file: OfflineFile) -> list[bytes]:
        """The names of its chunks, in the order of their bytes."""
        if file.version_id is None:
            return []
        return [row[0] for row in self._db.execute(_CHUNKS, (file.version_id,))]

    def _known(self, under: RemotePath, host: str | None) -> Iterator[OfflineFile]:
        path = index_path(under)
        folder, _, name = path.rpartition("/")
        rows = self._db.execute(_NAMES, (path, host, folder, name)).fetchall()
        return (file for row in rows if (file := self._file(row)) is not None)

    def _file(self, row: Row) -> OfflineFile | None:
        workspace_id, host, folder, rowsum, *values = row
        if entry_rowsum(Place(host, folder, SHARED), values) != rowsum:
            return None  # a mount takes it for unknown, too
        entry = parse_entry(values)
        if entry.version is None:
            return None
        path = RemotePath((*folder.split("/"), entry.name))
        key = (workspace_id, index_path(path), version_key(entry.version))
        stored: list[tuple[Any, ...]] = self._db.execute(_VERSION, key).fetchall()
        version_id, cached = stored[0] if stored else (None, 0)
        return OfflineFile(host, path, entry.version, cached, version_id, values[7])


@contextmanager
def offline_index(file: Path) -> Iterator[OfflineIndex]:
    """The index ``file``, read-only and as of one moment, for the length of a block.

    Raises:
        CacheFolderError: there is none, it is damaged, another program's or a newer one's.
    """
    with reading_from_outside(file) as db:
        yield OfflineIndex(db)
