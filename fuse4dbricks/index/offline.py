"""Which files could be read with no network: names that are known, with the bytes that are here of just that version.

The difficulty: the tree and the chunks know nothing of each other, so chunks of an older version, or of a file that
no folder shows any more, take room and cannot be read. What counts is what a mount would do: find the name, take its
version, and look for chunks of that. And there may be millions of names, while a mount writes and who asks takes his time;
so names come in pages, each a read of its own that goes on behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import apsw

from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.outside import reading_from_outside
from fuse4dbricks.index.rowsum import version_key
from fuse4dbricks.index.tree_rows import (
    ENTRY_COLUMNS,
    SHARED,
    Place,
    entry_rowsum,
    index_path,
    parse_entry,
    path_ranges,
)
from fuse4dbricks.paths import RemotePath

#: Names of one page: a read of some milliseconds.
PAGE = 1000

_HOSTS = "SELECT id, host FROM workspace WHERE ?1 IS NULL OR host = ?1 ORDER BY host"
_DENTRY = ", ".join(f"d.{column}" for column in ENTRY_COLUMNS.split(", "))
_NAMES = f"""
    SELECT f.path, d.rowsum, {_DENTRY}
    FROM folder f CROSS JOIN dentry d ON d.folder_id = f.id AND d.viewer = '{SHARED}'
    WHERE d.kind = {int(Kind.FILE)} AND f.workspace_id = ?"""  # noqa: S608 - constants of this package
_FOLDERS = f"{_NAMES} AND f.path >= ? AND f.path < ? ORDER BY f.path, d.name LIMIT ?"
_REST = f"{_NAMES} AND f.path = ? AND d.name > ? ORDER BY d.name LIMIT ?"
_ONE = f"{_NAMES} AND f.path = ? AND d.name = ?"
#: Where the name is in their rows.
_NAME = 2

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

    def files(self, under: RemotePath, host: str | None = None, *, page: int = PAGE) -> Iterator[OfflineFile]:
        """A file, or all files below a folder, of which something is here; in the order of folders, then of names.

        What the mount learns meanwhile may be told or not; each file is told once.
        """
        for workspace_id, its_host in self._rows(_HOSTS, (host,)):
            for row in chain(self._one(workspace_id, under), self._below(workspace_id, under, page)):
                file = self._file(workspace_id, its_host, row)
                if file is not None and file.is_here:
                    yield file

    def find(self, path: RemotePath, host: str) -> OfflineFile | None:
        """The file of that name, if its folder shows one, whether any of it is here or not."""
        for workspace_id, its_host in self._rows(_HOSTS, (host,)):
            for row in self._one(workspace_id, path):
                return self._file(workspace_id, its_host, row)
        return None

    def chunk_names(self, file: OfflineFile) -> list[bytes]:
        """The names of its chunks, in the order of their bytes."""
        if file.version_id is None:
            return []
        return [row[0] for row in self._rows(_CHUNKS, (file.version_id,))]

    def _one(self, workspace_id: int, path: RemotePath) -> list[Row]:
        folder, _, name = index_path(path).rpartition("/")
        return self._rows(_ONE, (workspace_id, folder, name))

    def _below(self, workspace_id: int, under: RemotePath, page: int) -> Iterator[Row]:
        for low, high in path_ranges(under):
            begin = low
            while rows := self._rows(_FOLDERS, (workspace_id, begin, high, page)):
                yield from rows
                if len(rows) < page:
                    break
                # The last of these folders may have more names than there was room for.
                folder = rows[-1][0]
                while rows := self._rows(_REST, (workspace_id, folder, rows[-1][_NAME], page)):
                    yield from rows
                begin = f"{folder}\0"

    def _rows(self, sql: str, binds: Binds) -> list[Row]:
        return self._db.execute(sql, binds).fetchall()

    def _file(self, workspace_id: int, host: str, row: Row) -> OfflineFile | None:
        folder, rowsum, *values = row
        if entry_rowsum(Place(host, folder, SHARED), values) != rowsum:
            return None  # a mount takes it for unknown, too
        entry = parse_entry(values)
        if entry.version is None:
            return None
        path = RemotePath((*folder.split("/"), entry.name))
        key = (workspace_id, index_path(path), version_key(entry.version))
        stored = self._rows(_VERSION, key)
        version_id, cached = stored[0] if stored else (None, 0)
        return OfflineFile(host, path, entry.version, cached, version_id, values[7])


@contextmanager
def offline_index(file: Path) -> Iterator[OfflineIndex]:
    """The index ``file``, read-only, for the length of a block.

    Raises:
        CacheFolderError: there is none, it is damaged, another program's or a newer one's.
    """
    with reading_from_outside(file) as db:
        yield OfflineIndex(db)
