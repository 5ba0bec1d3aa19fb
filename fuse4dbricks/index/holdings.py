"""What the index says of the chunks of one file, for who asks what is cached of it.

The difficulty: a file may have a million chunks and the question is put in the loop. So rows come a page at a time, in
the order of the file, without the columns that only a reader of the bytes needs; who wants them all lets others run
between two pages.
"""

from __future__ import annotations

from fuse4dbricks.entry import Version
from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.records import HeldChunk
from fuse4dbricks.index.rowsum import version_key
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.paths import RemotePath

_LOAD_HELD = in_loop("""
    SELECT chunk_index, length, owner_id, created_at FROM chunk
    WHERE version_id = (SELECT id FROM file_version WHERE workspace_id = ? AND path = ? AND version_key = ?)
      AND chunk_index >= ? ORDER BY chunk_index LIMIT ?""")
_LOAD_OWNER = in_loop("SELECT name FROM owner WHERE id = ?")
_LOAD_USER_NAME = in_loop("SELECT user_name FROM principal WHERE workspace_id = ? AND principal = ?")


class HeldChunks:
    """The chunks of single files, of one workspace."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load_held(
        self, path: RemotePath, version: Version, first: int, limit: int
    ) -> tuple[HeldChunk, ...] | None:
        """At most ``limit`` chunks from index ``first`` on, in order; some 1 µs each. None: cannot be told now."""
        workspace = self._reader.workspace_id
        key = (workspace, index_path(path), version_key(version), first, limit)
        rows = self._reader.rows(_LOAD_HELD, key)
        if rows is None:
            return None
        names = {owner: self._owner_name(workspace, owner) for owner in {row[2] for row in rows}}
        return tuple(
            HeldChunk(index, length, names[owner], made_at) for index, length, owner, made_at in rows
        )

    def _owner_name(self, workspace: int, owner: int) -> str:
        """Owners are principals' ids; people know user names."""
        row = self._reader.row(_LOAD_OWNER, (owner,))
        if row is None:
            return ""
        known = self._reader.row(_LOAD_USER_NAME, (workspace, row[0]))
        return str(row[0] if known is None else known[0])
