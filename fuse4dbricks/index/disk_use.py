"""What the entries of a folder take on the disk.

The difficulty: adding up a million chunk rows takes seconds. Above the volumes the totals that follow the rows answer at once,
but they also hold what no file has any more: a chunk that another version has displaced waits there for its eviction, so it is
taken off again. Inside a volume the rows are added up, some thousand files at a time, so that no log has to wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import apsw

from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.tree_rows import index_path, path_ranges
from fuse4dbricks.paths import RemotePath

#: Whether somebody is told of what is at a path; inside a volume all is as the volume itself.
Shows = Callable[[RemotePath], bool]

#: Catalog, schema, volume.
VOLUME_PARTS = 3

#: Files that are added up in one read, of some 10 ms.
AT_ONCE = 5000

_VOLUMES = """
    SELECT v.catalog, v.schema, v.name,
           (SELECT sum(disk_bytes) FROM usage u WHERE u.volume_id = v.id) - coalesce(d.disk_bytes, 0)
    FROM volume v JOIN workspace w ON w.id = v.workspace_id
    LEFT JOIN (SELECT volume_id, sum(disk_bytes) AS disk_bytes FROM chunk WHERE version_id IS NULL GROUP BY volume_id) d
      ON d.volume_id = v.id
    WHERE (?1 IS NULL OR w.host = ?1) AND v.id IN (SELECT volume_id FROM usage)"""
_WORKSPACES = "SELECT id FROM workspace WHERE ?1 IS NULL OR host = ?1"
#: Where the next ones end. All versions of a path are added up together.
_LAST = """
    SELECT max(path) FROM (
        SELECT path FROM file_version WHERE workspace_id = ?1 AND path >= ?2 AND path < ?3
        ORDER BY path LIMIT ?4)"""
_SUMS = """
    SELECT substr(v.path, ?4, instr(substr(v.path, ?4) || '/', '/') - 1) AS entry, sum(c.disk_bytes)
    FROM file_version v JOIN chunk c ON c.version_id = v.id
    WHERE v.workspace_id = ?1 AND v.path >= ?2 AND v.path < ?3 GROUP BY entry"""


@dataclass(frozen=True, slots=True)
class Folder:
    """Whose entries are added up.

    Attributes:
        path: of a folder, or of a file.
        host: of the workspace; None: all that have such a folder.
    """

    path: RemotePath
    host: str | None


def load_disk_use(db: apsw.Connection, folder: Folder, shows: Shows, at_once: int) -> dict[str, int]:
    """Bytes on the disk by the names of the entries of a folder; a file's own are under the empty name.

    Raises:
        apsw.Error: the index cannot be read.
    """
    depth = len(folder.path.parts)
    use: Counter[str] = Counter()
    if depth < VOLUME_PARTS:
        for row in _all(db, _VOLUMES, (folder.host,)):
            volume = RemotePath(row[:VOLUME_PARTS])
            if row[VOLUME_PARTS] and volume.parts[:depth] == folder.path.parts and shows(volume):
                use[volume.parts[depth]] += row[VOLUME_PARTS]
    elif shows(folder.path):
        for entry, size in _inside(db, folder, at_once):
            use[entry] += size
    return dict(use)


def _inside(db: apsw.Connection, folder: Folder, at_once: int) -> Iterator[Row]:
    # What comes behind "path/" in characters, counted from 1; a file's own path ends before it.
    begin = len(index_path(folder.path)) + 2
    for (workspace_id,) in _all(db, _WORKSPACES, (folder.host,)):
        for low, high in path_ranges(folder.path):
            after = low
            while (last := _all(db, _LAST, (workspace_id, after, high, at_once))[0][0]) is not None:
                end = f"{last}\0"
                yield from _all(db, _SUMS, (workspace_id, after, end, begin))
                after = end


def _all(db: apsw.Connection, sql: str, binds: Binds) -> list[Row]:
    return db.execute(sql, binds).fetchall()
