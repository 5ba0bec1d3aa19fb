# ruff: noqa: S608 - statements are put together from constants of this package; values are always bound
"""Changing the chunk rows, inside the writer's transaction.

The difficulty: the same chunk is recorded twice (two flights, a rebuild from the files, a mount with another chunk
size), and each time the totals must come out right and no file be left without a row. So a row in the way goes first,
through the same door as an evicted one; and when it names another file, that row stays, belongs to no version and
counts as the oldest of all, so that eviction unlinks the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fuse4dbricks.entry import Version
from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.pinning import is_to_be_marked
from fuse4dbricks.index.records import NewChunk, Victim, VictimQuery
from fuse4dbricks.index.rollups import Counted, Rollup
from fuse4dbricks.index.rowsum import seal, to_signed, version_key
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.index.victims import Chosen
from fuse4dbricks.paths import RemotePath

_EXTENSION = re.compile(r".\.([A-Za-z0-9_]{1,12})\Z", re.DOTALL)

_VERSION = "SELECT id, volume_id FROM file_version WHERE workspace_id = ? AND path = ? AND version_key = ?"
_NEW_VERSION = """
    INSERT INTO file_version (workspace_id, volume_id, path, version_key, size, last_modified, etag, unsettled_at,
                              extension, chunks, cached_bytes)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)"""
_NEW_CHUNK = """
    INSERT INTO chunk (id, version_id, chunk_index, last_access_ms, disk_bytes, owner_id, volume_id, created_at, length,
                       name, checksum, rowsum, pinned)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
#: The columns of Counted, then those of a victim.
COUNTED = """
    SELECT c.version_id, c.volume_id, c.owner_id, coalesce(v.extension, ''), c.last_access_ms, c.disk_bytes, c.length,
           c.pinned, c.id, c.name, c.chunk_index
    FROM chunk c LEFT JOIN file_version v ON v.id = c.version_id"""


@dataclass(frozen=True, slots=True)
class File:
    """One version of one file.

    Attributes:
        path: where it is; inside a volume.
        version: of its bytes.
    """

    path: RemotePath
    version: Version

    @property
    def extension(self) -> str:
        """Lower case, without the dot; empty for names without a usual one."""
        found = _EXTENSION.search(self.path.name)
        return found[1].lower() if found else ""

    def chunk_rowsum(self, host: str, row: Sequence[Any]) -> int:
        """The checksum of a chunk's (chunk_index, name, length, checksum as stored)."""
        version = self.version
        words = (version.size, version.last_modified, version.etag, version.unsettled_at)
        return seal("chunk", host, index_path(self.path), *words, *row)


# --- adding --------------------------------------------------------------------------------------


def add_chunks(session: Session, file: File, chunks: Sequence[NewChunk]) -> None:
    """Record chunk files."""
    rollup = Rollup()
    version_id, volume_id = ensure_version(session, file)
    for chunk in chunks:
        drop_rows(session, rollup, session.rows(f"{COUNTED} WHERE c.name = ?", (chunk.name,)))
        place = (version_id, chunk.chunk_index)
        _displace(
            session, rollup, session.rows(f"{COUNTED} WHERE c.version_id = ? AND c.chunk_index = ?", place)
        )
        insert_chunk(session, rollup, file, (version_id, volume_id), chunk)
    rollup.write(session)


def _displace(session: Session, rollup: Rollup, rows: Sequence[Row]) -> None:
    """Rows of chunk files that another file has taken the place of."""
    for row in rows:
        counted = Counted(*row[:8])
        rollup.count(counted, -1)
        rollup.count(replace(counted, version_id=None, extension="", last_access_ms=0, pinned=0), 1)
        session.run(
            "UPDATE chunk SET version_id = NULL, last_access_ms = 0, pinned = 0 WHERE id = ?", (row[8],)
        )
        session.victims.note_use(0)


def insert_chunk(session: Session, rollup: Rollup, file: File, ids: tuple[int, int], chunk: NewChunk) -> None:
    """Write the row of a chunk whose name and place no other row has; ``ids`` are :func:`ensure_version`'s."""
    now = session.clock.wall()
    version_id, volume_id = ids
    used = max(0, int((now if chunk.last_access is None else chunk.last_access) * 1000))
    size = chunk.length if chunk.disk_bytes is None else chunk.disk_bytes
    owner_id = _ensure_owner(session, chunk.owner)
    described = (chunk.chunk_index, chunk.name, chunk.length, to_signed(chunk.checksum))
    rowsum = file.chunk_rowsum(session.host, described)
    row = (version_id, chunk.chunk_index, used, size, owner_id, volume_id, now, chunk.length, chunk.name)
    pinned = int(is_to_be_marked(session, file.path, rollup.pinned_bytes + size))
    session.run(_NEW_CHUNK, (session.make_chunk_id(), *row, to_signed(chunk.checksum), rowsum, pinned))
    session.victims.note_use(used)
    rollup.count(
        Counted(version_id, volume_id, owner_id, file.extension, used, size, chunk.length, pinned), 1
    )


def ensure_version(session: Session, file: File) -> tuple[int, int]:
    """The ids of the version's row, made if it is new, and of its volume."""
    path, version = index_path(file.path), file.version
    for row in find_version(session, file):
        return row[0], row[1]
    volume_id = _ensure_volume(session, file.path.volume)
    words = (version.size, version.last_modified, version.etag, version.unsettled_at)
    session.run(
        _NEW_VERSION, (session.workspace_id, volume_id, path, version_key(version), *words, file.extension)
    )
    version_id = session.last_row_id()
    session.run("UPDATE volume SET files = files + 1 WHERE id = ?", (volume_id,))
    return version_id, volume_id


def find_version(session: Session, file: File) -> list[Row]:
    """The id and volume id of the version's row, if it has one."""
    return session.rows(_VERSION, (session.workspace_id, index_path(file.path), version_key(file.version)))


def _ensure_volume(session: Session, volume: RemotePath) -> int:
    return _ensure(session, "volume", ("catalog", "schema", "name"), volume.parts)


def _ensure_owner(session: Session, owner: str) -> int:
    return _ensure(session, "owner", ("name",), (owner,))


def _ensure(session: Session, table: str, columns: tuple[str, ...], values: tuple[str, ...]) -> int:
    """The id of the row with these values, made if it is new."""
    known = session.find_id((table, *values))
    if known is not None:
        return known
    key: Binds = (session.workspace_id, *values)
    marks = ", ".join("?" for _ in key)
    names = ", ".join(("workspace_id", *columns))
    row = session.row(f"SELECT id FROM {table} WHERE ({names}) = ({marks})", key)
    if row is None:
        session.run(f"INSERT INTO {table} ({names}) VALUES ({marks})", key)
        row = (session.last_row_id(),)
    return session.remember_id((table, *values), row[0])


# --- removing ------------------------------------------------------------------------------------


def remove_chunks(session: Session, file: File, indexes: frozenset[int] | None) -> list[bytes]:
    """Forget chunks of a version (None: all); the names of their files."""
    found = [
        row
        for version in find_version(session, file)
        for row in session.rows(f"{COUNTED} WHERE c.version_id = ?", version[:1])
        if indexes is None or row[10] in indexes
    ]
    rollup = Rollup()
    names = drop_rows(session, rollup, found)
    rollup.write(session)
    return names


def take_victims(session: Session, query: VictimQuery, limit: int) -> list[Victim]:
    """Choose the next victims and forget them."""
    chosen = _choose(session, query, limit)
    rollup = Rollup()
    for choice in chosen:
        drop_rows(session, rollup, session.rows(f"{COUNTED} WHERE c.id = ?", (choice.row_id,)))
    rollup.write(session)
    return [choice.victim for choice in chosen]


def name_victims(session: Session, query: VictimQuery, limit: int) -> list[Victim]:
    """Choose the next victims and keep their rows, which the next choice will meet first."""
    victims = [choice.victim for choice in _choose(session, query, limit)]
    session.victims.forget()
    return victims


def _choose(session: Session, query: VictimQuery, limit: int) -> list[Chosen]:
    held = (row for file in query.protected for row in find_version(session, File(*file)))
    return session.victims.choose(session.rows, query, limit, frozenset(row[0] for row in held))


def drop_rows(session: Session, rollup: Rollup, rows: Sequence[Row]) -> list[bytes]:
    """Delete rows given in the columns of COUNTED; their files' names."""
    for row in rows:
        rollup.count(Counted(*row[:8]), -1)
    session.run_many("DELETE FROM chunk WHERE id = ?", [(row[8],) for row in rows])
    return [row[9] for row in rows]
